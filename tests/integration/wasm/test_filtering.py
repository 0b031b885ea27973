"""`wbpf run --pid`, `--comm` and `--cgroup`: set in the eBPF program, which then leaves out the others."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from wbpf.bpf import Object
from wbpf.wasm import Module
from wbpf.wasm.filters import Filter

_GETPGID = {"x86_64": 121, "aarch64": 155}[platform.machine()]
#: Makes so many traced calls for each number that comes in, and says when it has.
CALLER = """
import ctypes, os, sys
getpgid = ctypes.CDLL(None).getpgid
open("/proc/self/comm", "w").write(sys.argv[1])
print("there", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        getpgid(0)
    print("done", flush=True)
"""


@contextmanager
def caller(name: str) -> Iterator[subprocess.Popen[str]]:
    """A process whose thread has this name."""
    command = [sys.executable, "-c", CALLER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "there\n"
        yield process
        process.communicate()


def make(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdin and process.stdout
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


@pytest.fixture
def two() -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str]]]:
    with ExitStack() as stack:
        yield stack.enter_context(caller("wbpf-one")), stack.enter_context(caller("wbpf-other"))


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of version 2, with another below it."""
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (root / "cgroup.controllers").exists():
            made = root / f"wbpf-filtering-{os.getpid()}"
            (made / "below").mkdir(parents=True)
            yield made
            (made / "below").rmdir()
            made.rmdir()
            return
    pytest.skip("needs cgroup v2: none is mounted")


@pytest.fixture
def counted(calls: Module, tmp_path: Path) -> Iterator[Callable[..., dict[int, int]]]:
    """Runs the command with options while something is done; what was counted, by process."""
    path = tmp_path / "calls.wasm"
    path.write_bytes(calls.wasm)
    with ExitStack() as stack:

        def count(done: Callable[[], None], *options: str) -> dict[int, int]:
            command = [
                str(Path(sys.executable).with_name("wbpf")),
                "run",
                *options,
                str(path),
                "--",
                "count",
                str(_GETPGID),
            ]
            process = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            timer = threading.Timer(60, process.kill)
            stack.callback(timer.cancel)
            timer.start()
            assert process.stdout and process.stderr
            assert process.stdout.readline() == "attached 1\n", process.stderr.read()
            done()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate()
            return {int(pid): int(value) for pid, value in map(str.split, out.splitlines())}

        yield count


Two = tuple[subprocess.Popen[str], subprocess.Popen[str]]
Counted = Callable[..., dict[int, int]]


def test_a_process(two: Two, counted: Counted) -> None:
    one, other = two

    def both() -> None:
        make(one, 300)
        make(other, 200)

    everything = counted(both)
    assert (everything[one.pid], everything[other.pid]) == (300, 200)
    assert counted(both, "--pid", str(one.pid)) == {one.pid: 300}


def test_a_name(two: Two, counted: Counted) -> None:
    one, other = two

    def both() -> None:
        make(one, 30)
        make(other, 20)

    assert counted(both, "--comm", "wbpf-other") == {other.pid: 20}


def test_a_cgroup_and_what_is_below_it(cgroup: Path, two: Two, counted: Counted) -> None:
    one, other = two
    with caller("wbpf-third") as third:
        (cgroup / "cgroup.procs").write_text(str(one.pid))
        (cgroup / "below/cgroup.procs").write_text(str(third.pid))

        def all_of_them() -> None:
            make(one, 30)
            make(other, 20)
            make(third, 10)

        within = {one.pid: 30, third.pid: 10}
        assert counted(all_of_them, "--cgroup", str(cgroup)) == within
        assert counted(all_of_them, "--cgroup", cgroup.name) == within
        assert counted(all_of_them, "--cgroup", f"{cgroup.name}/below") == {third.pid: 10}
        assert counted(all_of_them, "--cgroup", cgroup.name, "--pid", str(one.pid)) == {one.pid: 30}


def instructions(calls: Module, filter: Filter | None) -> int:
    """Of the filtered program, as the kernel runs it."""
    with Object(calls.objects["calls"], "calls") as opened:
        if filter:
            filter.apply(opened)
        opened.programs["drain"].autoload = False
        opened.load()
        info = Path(f"/proc/self/fdinfo/{opened.programs['on_enter'].fileno()}").read_text()
    return int(next(line.split()[1] for line in info.splitlines() if line.startswith("verified_insns")))


def test_a_filter_that_is_not_used_costs_nothing(calls: Module) -> None:
    unused, one = instructions(calls, None), instructions(calls, Filter(pid=os.getpid()))
    both = instructions(calls, Filter(pid=os.getpid(), comm="wbpf"))
    assert unused < one < both
