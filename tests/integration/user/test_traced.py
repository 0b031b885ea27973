"""Commands that are launched with the runtime in them, and what descends from them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.user.conftest import C_ROOT, HERE
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import BpfError

THREADS = 4


@pytest.fixture(scope="session")
def plain_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sites.c without libwbpf: its sites are for those who preload it."""
    program = tmp_path_factory.mktemp("plain") / "plain"
    flags = ["-std=gnu11", "-O2", "-DWBPF_WEAK", f"-I{C_ROOT / 'include'}", "-pthread"]
    subprocess.run(["gcc", *flags, HERE / "sites.c", "-o", program], check=True)
    return program


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "launch")
    return tmp_path / "wbpf" / "launch"


def run(traced: Traced, commands: str) -> None:
    traced.go()
    assert traced.process is not None
    traced.process.communicate(commands.encode(), timeout=30)
    assert traced.process.returncode == 0


def test_nothing_is_missed_of_a_command_and_its_children(
    plain_program: Path, elf: bytes, folder: Path
) -> None:
    with (
        Traced.launch([plain_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject(elf, "order", traced=traced) as orders,
    ):
        orders.load()
        assert orders.programs["order"].attach("shop:order").sites == 1
        run(traced, "run 100\nfork\nfork\n")
        assert orders.variables["count"] == THREADS * 100 + 2 * 10
        assert traced.problems == []
    deadline = time.monotonic() + 5
    while list(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(folder.iterdir()) == []


def test_programs_that_are_executed_are_traced(plain_program: Path, elf: bytes) -> None:
    script = (
        f'echo "run 3" | {plain_program}; (echo "run 4"; echo "fork") | {plain_program}; exec {plain_program}'
    )
    with (
        Traced.launch(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject(elf, "order", traced=traced) as orders,
    ):
        orders.load()
        assert orders.programs["order"].attach("shop:order").sites == 0
        run(traced, "run 5\n")
        assert orders.variables["count"] == THREADS * (3 + 4 + 5) + 10
        assert traced.problems == []


def test_detaching_reaches_descendants(plain_program: Path, elf: bytes) -> None:
    script = f"(echo 'run 3'; read line; echo 'run 4') | {plain_program}"
    with (
        Traced.launch(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject(elf, "order", traced=traced) as orders,
    ):
        orders.load()
        link = orders.programs["order"].attach("shop:order")
        traced.go()
        deadline = time.monotonic() + 20
        while orders.variables["count"] < THREADS * 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        link.detach()
        run(traced, "\n")
        assert orders.variables["count"] == THREADS * 3


def test_a_command_goes_on_if_its_tracer_is_killed(plain_program: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from wbpf.bpf.user.attach import Traced\n"
        "traced = Traced.launch([sys.argv[1]], stdout=open(sys.argv[2], 'wb'))\n"
        "print(traced.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    output = tmp_path / "output"
    with subprocess.Popen(
        [sys.executable, "-c", script, plain_program, output],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as tracer:
        assert tracer.stdout is not None
        pid = int(tracer.stdout.readline())
        time.sleep(0.1)
        assert output.read_bytes() == b"", "it did not wait"
        tracer.kill()
    deadline = time.monotonic() + 10
    while output.read_bytes() != b"ready\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_can_not_be_launched_says_why(tmp_path: Path) -> None:
    with pytest.raises(BpfError, match="there is no command"):
        Traced.launch([tmp_path / "nothing"])
    static = tmp_path / "static"
    note = tmp_path / "note"
    source = f'#include <fcntl.h>\nint main(void) {{ return creat("{note}", 0600) < 0; }}'
    subprocess.run(["gcc", "-x", "c", "-", "-static", "-o", static], input=source.encode(), check=True)
    with pytest.raises(BpfError, match="linked statically"):
        Traced.launch([static])
    assert not note.exists(), "it ran, and was not traced"
    subprocess.run([static], check=True)
    assert note.exists()
    with pytest.raises(BpfError, match="not started by this process"):
        Traced(os.getpid(), tmp_path).wait()
