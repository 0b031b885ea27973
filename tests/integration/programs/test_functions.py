"""uprobe tells each call of a function; kprobe and lsm say what this kernel lacks for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.programs.conftest import Built
from tests.integration.programs.running import HERE, Running
from wbpf.bpf.user.attach import Traced

Call = Callable[[str], int]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `called.c`."""
    out = tmp_path_factory.mktemp("called") / "called"
    subprocess.run(["cc", "-O1", "-o", out, HERE / "called.c"], check=True)
    return out


@pytest.fixture
def call(program: Path) -> Iterator[Call]:
    """Has it call something; returns the process's number."""
    process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(line: str) -> int:
        assert process.stdin and process.stdout
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        return process.pid

    yield ask
    process.communicate()


def test_uprobe(built: Built, program: Path, call: Call) -> None:
    with Running(built("uprobe"), function=f"{program}:add") as uprobe:
        pid = call("add 3000")
    assert [(event["arguments"], event["result"]) for event in uprobe.events] == [
        ([i, 2 * i, 2**64 - 1], 3 * i - 1) for i in range(3000)
    ]
    assert {(event["pid"], event["tid"], event["comm"]) for event in uprobe.events} == {(pid, pid, "called")}
    assert all(event["duration"] > 0 for event in uprobe.events)


def test_uprobe_without_the_kernel(built: Built, program: Path, call: Call) -> None:
    """The same module, with the same output, in the process itself."""
    pid = call("add 0")
    with Running(built("uprobe"), backend="user", traced=Traced.of(pid), function=f"{program}:add") as uprobe:
        call("add 3000")
    assert [(event["arguments"], event["result"]) for event in uprobe.events] == [
        ([i, 2 * i, 2**64 - 1], 3 * i - 1) for i in range(3000)
    ]
    assert {(event["pid"], event["tid"], event["comm"]) for event in uprobe.events} == {(pid, pid, "called")}
    with Running(built("uprobe"), backend="user", traced=Traced.of(pid), function=f"{program}:sum") as uprobe:
        call("sum 20")
    assert [event["arguments"][0] for event in uprobe.events] == list(range(21))


def test_uprobe_of_a_function_that_calls_itself(built: Built, program: Path, call: Call) -> None:
    with Running(built("uprobe"), function=f"{program}:sum") as uprobe:
        call("sum 20")
    depths = [event["arguments"][0] for event in uprobe.events]
    assert depths == list(range(21))  # the innermost returns first
    assert [event["result"] for event in uprobe.events] == [n * (n + 1) // 2 for n in range(21)]
    durations = [event["duration"] for event in uprobe.events]
    assert durations == sorted(durations)


def test_uprobe_of_several_functions_and_long_calls(built: Built, program: Path, call: Call) -> None:
    both = f"{program}:add,{program}:sum"
    with Running(built("uprobe"), function=both) as uprobe:
        call("add 10")
        call("sum 4")
    assert len(uprobe.events) == 15
    with Running(built("uprobe"), function=both, min_duration=10**12) as uprobe:
        call("add 10")
    assert uprobe.events == []


def run(module: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wbpf.cli", "run", str(module), "--allow", "all", "--duration", "1s"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_kprobe_without_kprobes(built: Built) -> None:
    if " register_kprobe\n" in Path("/proc/kallsyms").read_text():
        pytest.skip("needs a kernel without kprobes: this one has them, see tests/vm/test_programs.py")
    done = run(built("kprobe"))
    assert done.returncode == 1
    assert "program 'on_call' can't be attached to 'do_unlinkat': needs kprobes" in done.stderr
    assert "CONFIG_KPROBES" in done.stderr


def test_lsm_without_bpf_among_the_security_modules(built: Built) -> None:
    active = Path("/sys/kernel/security/lsm")
    done = run(built("lsm"))
    if done.returncode == 0:
        assert "bpf" in active.read_text().split(",")
        pytest.skip("needs a kernel without BPF among its security modules: this one has it")
    assert done.returncode == 1
    assert "program 'on_rmdir' of 'lsm' can't be loaded" in done.stderr
