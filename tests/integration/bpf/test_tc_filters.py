"""TC on kernels without links for it: filters outlive their process, unless somebody removes them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf import Object, attaching, tc_filters
from wbpf.bpf.tc_filters import remove_dead

OWNER = """
import sys
from pathlib import Path
from wbpf.bpf import Object, attaching, tc_filters

attaching._TCX = {direction: 9999 for direction in attaching._TCX}  # as before kernel 6.6
tc_filters._FOLDER = Path(sys.argv[2])
probe = Object.open(sys.argv[1])
probe.load()
probe.programs["on_tc"].attach("wbpf0:ingress")
print("attached", flush=True)
sys.stdin.read()
"""


def filters() -> int:
    done = subprocess.run(
        ["tc", "filter", "show", "dev", "wbpf0", "ingress"], check=True, capture_output=True, text=True
    )
    return done.stdout.count("direct-action")


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The kernel refuses links, as those before 6.6 do; the folder of notes."""
    monkeypatch.setattr(attaching, "_TCX", dict.fromkeys(attaching._TCX, 9999))
    monkeypatch.setattr(tc_filters, "_FOLDER", tmp_path / "notes")
    return tmp_path / "notes"


def test_a_filter_goes_with_its_link(compiled: Compiled, network: tuple[str, str], old_kernel: Path) -> None:
    with Object.open(compiled("kinds")) as probe:
        probe.load()
        link = probe.programs["on_tc"].attach("wbpf0:ingress")
        assert filters() == 1 and len(list(old_kernel.iterdir())) == 1
        assert remove_dead() == 0, "its process lives"
        link.detach()
        assert filters() == 0 and not list(old_kernel.iterdir())
        probe.programs["on_tc"].attach("wbpf0:ingress")
    assert filters() == 0


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_killed_owner_s_filter_is_removed(
    compiled: Compiled, network: tuple[str, str], old_kernel: Path, is_guarded: bool
) -> None:
    command = [sys.executable, "-c", OWNER, str(compiled("kinds")), str(old_kernel)]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    assert owner.stdout.readline() == "attached\n"
    assert filters() == 1
    children = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
    (guard,) = [int(pid) for pid in children]
    if not is_guarded:
        subprocess.run(["kill", "-KILL", str(guard)], check=True)
        while Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
    owner.kill()
    owner.communicate()
    if not is_guarded:
        assert filters() == 1, "the kernel keeps it"
        assert remove_dead() == 1
    deadline = time.monotonic() + 10
    while filters() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert filters() == 0
    assert not list(old_kernel.iterdir())
