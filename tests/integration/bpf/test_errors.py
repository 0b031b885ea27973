"""Whatever is refused, the error says exactly why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf import Object
from wbpf.errors import BpfError, FormatError, WbpfError

AS_NOBODY = """
import os, sys
from wbpf.bpf import Object
from wbpf.errors import WbpfError
elf = open(sys.argv[1], "rb").read()
os.setgroups([])
os.setuid(65534)
probe = Object(elf, "wild")
probe.programs[sys.argv[2]].autoload = True
try:
    probe.load()
except WbpfError as error:
    print(type(error).__name__, error)
"""


def refusal(path: Path, program: str, **options: str | Path) -> WbpfError:
    with Object.open(path, **options) as probe:  # type: ignore[arg-type]
        probe.programs[program].autoload = True
        with pytest.raises(WbpfError) as caught:
            probe.load()
    return caught.value


def test_a_rejection_by_the_verifier(compiled: Compiled) -> None:
    error = refusal(compiled("wild"), "wild")
    assert error.what == "program 'wild' of 'wild' can't be loaded"
    assert error.why.startswith("R1 invalid mem access ")
    assert "`return *(int *)ctx[0];`" in error.why, "the line of the source"
    assert isinstance(error, BpfError) and "-- BEGIN PROG LOAD LOG --" in error.log


def test_a_place_that_is_not_there(compiled: Compiled) -> None:
    error = refusal(compiled("wild"), "misspelt")
    assert error.what == "program 'misspelt' of 'wild' can't be loaded"
    assert "'sched_swich' that can be attached to" in error.why


@pytest.mark.parametrize(
    ("program", "why"), [("relocated", "CAP_BPF and CAP_PERFMON"), ("tame", "CAP_BPF and CAP_NET_ADMIN")]
)
def test_rights_that_are_missing(compiled: Compiled, program: str, why: str) -> None:
    command = [sys.executable, "-c", AS_NOBODY, str(compiled("wild")), program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("AccessError ")
    assert f"can't be loaded: {why} are missing\n  try: run as root" in done.stdout


def test_no_btf_of_the_kernel(compiled: Compiled, tmp_path: Path) -> None:
    error = refusal(compiled("wild"), "relocated", btf=tmp_path / "none")
    assert error.why == f"needs kernel BTF: there is no {tmp_path / 'none'}"
    (tmp_path / "bad").write_bytes(b"\x9f\xebrubbish")
    error = refusal(compiled("wild"), "relocated", btf=tmp_path / "bad")
    assert error.why == f"{tmp_path / 'bad'} is no valid BTF"


def test_files_that_are_no_objects(compiled: Compiled) -> None:
    whole = compiled("wild").read_bytes()
    for size in range(0, len(whole), 97):
        with pytest.raises(FormatError, match=r"'cut' is (not an eBPF object|damaged)"):
            Object(whole[:size], "cut")
    with pytest.raises(BpfError, match=r"can't be opened: .*No such file.*\n  try: check the path"):
        Object.open("/no/such/object.o")
