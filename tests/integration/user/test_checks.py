"""Programs that are not proved to be safe, run with checks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE
from tests.integration.wasm.guests import module_of
from tests.integration.wasm.launched import LOAD, OPEN
from wbpf.bpf.kinds import MapType
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.maps import UserMap
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.errors import BpfError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")

KEY = bytes(4)


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_bpf(HERE / "checks.bpf.c", tmp_path_factory.mktemp("checks") / "checks.bpf.o")


@pytest.fixture
def checked(path: Path) -> Iterator[UserObject]:
    with UserObject(path.read_bytes(), "checks", checks=True) as one:
        one.load()
        one.maps["counts"][KEY] = (0).to_bytes(8, "little")
        yield one


def entered(argument: int) -> bytes:
    """The context of a system call."""
    return bytes(16) + (argument & (1 << 64) - 1).to_bytes(8, "little") + bytes(40)


def stopped(one: UserObject, program: str, argument: int) -> bool:
    try:
        one.programs[program].test_run(b"", entered(argument))
    except BpfError as error:
        assert "it used memory that is not its own" in error.why, error
        return True
    return False


def test_values_of_maps_are_its_own(checked: UserObject) -> None:
    assert not stopped(checked, "counted", 0)
    assert not stopped(checked, "counted", 0)
    assert int.from_bytes(checked.maps["counts"][KEY], "little") == 2
    assert stopped(checked, "counted", 1), "there is no such key"
    assert not stopped(checked, "to_a_variable", 0)
    assert checked.variables["variable"] == 5


@pytest.mark.parametrize("distance", [-8, -4, 1, 4, 8, 4096, -4096, 1 << 40, -(1 << 63)])
def test_nothing_beside_values(checked: UserObject, distance: int) -> None:
    assert stopped(checked, "beside", distance)
    assert stopped(checked, "counted", 3)
    assert not stopped(checked, "beside", 0)


def test_constants_and_locks_are_not(checked: UserObject) -> None:
    assert stopped(checked, "to_a_constant", 0)
    assert checked.variables["constant"] == 7
    assert stopped(checked, "to_a_lock", 0) and stopped(checked, "to_a_lock", 2)
    assert not stopped(checked, "to_a_lock", 4)
    assert checked.maps["locks"][KEY][4:] == (5).to_bytes(4, "little")


def test_without_checks_each_is_refused(path: Path) -> None:
    for name in ("counted", "beside", "to_a_variable", "to_a_constant", "to_a_lock", "endless"):
        with UserObject(path.read_bytes(), "checks") as one:
            for program in one.programs.values():
                program.autoload = program.name == name
            with pytest.raises(BpfError, match="not proved to be safe") as refused:
                one.load()
            assert refused.value.hint == "run it with checks: wbpf run --checks, or checks=True"


def test_who_has_something_to_give_back_must_be_proved(path: Path) -> None:
    with UserObject(path.read_bytes(), "checks", checks=True) as one:
        for program in one.programs.values():
            program.autoload = program.name == "reserves"
        with pytest.raises(BpfError, match="'reserves' is not proved to be safe") as refused:
            one.load()
        assert not refused.value.hint


def test_attached_it_is_ended_and_that_is_counted(path: Path) -> None:
    script = (
        "import os, sys\n"
        "for n in range(10): os.getpgid(0); n % 2 and os.getpgid(os.getpid())\n"
        "os.sched_yield(); print('done', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-I", "-S", "-c", script]
    with (
        Traced.launch(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject(path.read_bytes(), "checks", checks=True, traced=traced) as one,
    ):
        for program in one.programs.values():
            program.autoload = program.name in ("counted", "endless", "far", "to_a_register")
        one.load()
        one.maps["counts"][KEY] = (0).to_bytes(8, "little")
        links = [one.programs[name].attach() for name in ("counted", "endless", "far")]
        links.append(one.programs["to_a_register"].attach("libc.so.6:sched_yield"))
        traced.go()
        child = traced.process
        assert child is not None and child.stdout is not None and child.stdin is not None
        assert child.stdout.readline() == b"done\n"
        assert [link.detach().stopped for link in links] == [5, 1, 0, 1]
        assert int.from_bytes(one.maps["counts"][KEY], "little") == 10
        assert one.variables["rounds"] == 1 << 20
        assert one.variables["variable"] == 15
        child.stdin.close()
        assert traced.wait() == 0
        child.stdout.close()


def test_the_command_says_how_many_runs_were_ended(path: Path, tmp_path: Path) -> None:
    attach = """(local.set $p (call $program_find (local.get $o) (i32.const 512) (i32.const 7)))
      (drop (call $program_attach (local.get $p) (i32.const 0) (i32.const 0) (i64.const 0)))
      (drop (call $wait (i32.const -1) (i32.const 64) (i32.const 4)))"""
    named = '(data (i32.const 512) "counted")'
    module = tmp_path / "app.wasm"
    module.write_bytes(module_of(f"{OPEN} {LOAD} {attach}", path.read_bytes(), extra=named).wasm)
    script = "import os, time; [os.getpgid(0) for n in range(3)]; time.sleep(9)"
    given = ["--duration", "4s", str(module), "--", sys.executable, "-I", "-S", "-c", script]
    ended, refused = (
        subprocess.run(
            [sys.executable, "-m", "wbpf.cli", "run", "--checks", "--backend", backend, *given],
            capture_output=True, text=True, check=False, timeout=60,
        ) for backend in ("user", "kernel")
    )  # fmt: skip
    assert ended.stderr == "warning: program 'counted': 3 of its runs were ended by a check\n"
    assert refused.returncode == 2 and "--checks can't be used" in refused.stderr


def test_what_a_clock_runs_ends_too(path: Path) -> None:
    with UserObject(path.read_bytes(), "checks", checks=True) as one:
        for program in one.programs.values():
            program.autoload = program.name == "ticking"
        one.load()
        link = one.programs["ticking"].attach("timer:20ms")
        end_s = time.monotonic() + 10
        while one.variables["rounds"] <= 1 << 20 and time.monotonic() < end_s:
            time.sleep(0.01)
        assert link.detach().stopped


def test_nobody_changes_what_proofs_go_by(path: Path, tmp_path: Path) -> None:
    """As the kernel freezes constants: neither a module nor a file does."""
    with UserObject(path.read_bytes(), "checks") as one:
        other = UserMap(".rodata", MapType.ARRAY, 4, 8, 1, flags=1 << 7)
        other.make(tmp_path / "constants")
        with pytest.raises(BpfError, match="is an object's own"):
            one.maps[".rodata"].reuse(other)
        other = UserMap("locks", MapType.ARRAY, 4, 8, 1, flags=1 << 10)
        other.make(tmp_path / "locks")
        with pytest.raises(BpfError, match="its kind, sizes or flags are others"):
            one.maps["locks"].reuse(other)
        for program in one.programs.values():
            program.autoload = program.name == "far"
        one.load()
        with pytest.raises(BpfError, match="Operation not permitted"):
            one.maps[".rodata"][KEY] = bytes(8)
        assert one.variables["constant"] == 7


@pytest.mark.parametrize(("flags", "status"), [(1, 51), (0, 50)])
def test_locks_are_not_in_what_a_module_may_write(
    path: Path, tmp_path: Path, flags: int, status: int
) -> None:
    window = f"""(call $exit (i32.sub (i32.wrap_i64 (i64.shr_s (call $map_window
        (call $map_find (local.get $o) (i32.const 512) (i32.const 5)) (i32.const {flags}))
        (i64.const 63))) (i32.const 50)))"""
    imported = '(import "wbpf" "map_window" (func $map_window (param i32 i32) (result i64)))'
    named = '(data (i32.const 512) "locks")'
    module = tmp_path / "app.wasm"
    code = module_of(f"{OPEN} {LOAD} {window}", path.read_bytes(), extra=named, imports=imported)
    module.write_bytes(code.wasm)
    argv = ["--checks", "--backend", "user", str(module), "--", "true"]
    ran = subprocess.run(
        [sys.executable, "-m", "wbpf.cli", "run", *argv],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == status, ran.stderr
