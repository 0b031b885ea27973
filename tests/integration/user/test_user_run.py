"""`wbpf run --backend user`: the programs of a module in a process that runs, or in a command."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE, Target
from wbpf.bpf.user.attach import Traced
from wbpf.build import Project, build
from wbpf.wasm import Grants, Module

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
pytest.importorskip("wasmtime", reason="needs wasmtime: install wbpf[wasm]")

THREADS = 4
RUN = (sys.executable, "-m", "wbpf.cli", "run", "--backend", "user", "--allow", "all", "-v", "-o", "json")
FUTEX_WAITV = 449


@pytest.fixture(scope="session")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Project.load(HERE / "probes"), tmp_path_factory.mktemp("probes") / "probes.wasm").path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "shop")


@pytest.fixture
def begin(probes: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the module on a process; returns once it is attached."""
    started: list[subprocess.Popen[str]] = []

    def run(pid: int, preexec: Callable[[], None] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*RUN, probes, "--pid", str(pid)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )
        started.append(process)
        assert process.stderr is not None
        assert process.stderr.readline() == "info: attached\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("place")
def test_a_command_is_traced_from_its_start_to_its_end(sites_program: Path, probes: Path) -> None:
    done = subprocess.run(
        [*RUN, probes, "--", sites_program],
        input="run 50\nrun 3\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    orders = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(one["number"] for one in orders) == sorted([*range(50), *range(3)] * THREADS)
    assert done.stderr == f"info: attached\nready\ndone\ndone\n{THREADS * 53} orders\n"


#: The command, with threads that are slow to end.
SLOW_TO_END = """
import sys, time
from wbpf.cli.run import main
from wbpf.wasm.guest import Guest

def late(method):
    def slow(self):
        result = method(self)
        time.sleep(0.5)
        return result
    return slow

Guest.finish, Guest._run = late(Guest.finish), late(Guest._run)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.usefixtures("place")
def test_no_thread_outlives_the_run(sites_program: Path, probes: Path) -> None:
    """What one refers to when the interpreter ends is reported as leaked."""
    done = subprocess.run(
        [sys.executable, "-c", SLOW_TO_END, *RUN[4:], probes, "--", sites_program],
        input="run 1\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"info: attached\nready\ndone\n{THREADS} orders\n"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137)])
def test_the_status_is_the_commands(probes: Path, script: str, status: int) -> None:
    done = subprocess.run([*RUN, probes, "--", "/bin/sh", "-c", script], capture_output=True, check=False)
    # A shell has no such site: attaching waits for what it executes.
    assert done.returncode == status, done.stderr


@pytest.mark.usefixtures("place")
def test_a_static_child_is_told_of_once(probes: Path, tmp_path: Path) -> None:
    static = tmp_path / "static"
    code = b"#include <unistd.h>\nint main(void) { usleep(400000); return 0; }"
    subprocess.run(["gcc", "-x", "c", "-", "-static", "-o", static], input=code, check=True)
    script = f"{static}; {static}; sleep 0.2; exit 3"
    done = subprocess.run([*RUN, probes, "--", "/bin/sh", "-c", script], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr == (
        f"info: attached\n0 orders\nwarning: {static} was not traced: it is linked statically\n"
        "  try: the kernel's eBPF traces it: --backend kernel\n"
    )


@pytest.mark.usefixtures("place")
def test_a_command_ends_with_the_run(probes: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"echo $$ > {note}; exec sleep 1000"
    done = subprocess.run(
        [*RUN, probes, "--duration", "2s", "--", "/bin/sh", "-c", script], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr  # not that of a command that was ended
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_a_process_that_runs_is_traced(target: Target, begin: Callable[..., subprocess.Popen[str]]) -> None:
    target.do("run 10")
    run = begin(target.pid)
    target.do("run 100")
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=30)
    assert len(out.splitlines()) == THREADS * 100
    target.do("run 10")


def without_waitv() -> None:
    """A kernel or sandbox that has no futex_waitv: a filter of seccomp's answers ENOSYS."""
    program = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, FUTEX_WAITV)
    program += struct.pack("HBBI", 6, 0, 0, 0x50000 | errno.ENOSYS) + struct.pack("HBBI", 6, 0, 0, 0x7FFF0000)
    kept = ctypes.create_string_buffer(program, len(program))
    filter = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter) == 0
    assert libc.syscall(FUTEX_WAITV, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS


@pytest.mark.parametrize("preexec", [None, without_waitv])
def test_an_event_in_another_process_wakes_the_guest(
    target: Target, begin: Callable[..., subprocess.Popen[str]], preexec: Callable[[], None] | None
) -> None:
    run = begin(target.pid, preexec)
    assert run.stdout is not None
    took = []
    for _ in range(5):
        time.sleep(0.3)  # it sleeps by now
        target.do("run 1")
        begun = time.monotonic()
        for _ in range(THREADS):
            assert json.loads(run.stdout.readline())["number"] == 0
        took.append(time.monotonic() - begun)
    assert sorted(took)[2] < 0.5  # what is left to chance is looked for once a second


def test_a_guest_that_waits_for_ever_ends_when_it_is_told(target: Target, probes: Path) -> None:
    guest = Module.open(probes).start(
        grants=Grants.all(),
        backend="user",
        traced=Traced.of(target.pid),
        stderr=os.open(os.devnull, os.O_WRONLY),
    )
    try:
        time.sleep(0.5)
        begun = time.monotonic()
        assert guest.finish()
        assert time.monotonic() - begun < 0.5
        assert guest.wait().exit_status == 0
    finally:
        guest.close()


def test_a_process_that_ends_does_not_hurt_the_run(
    target: Target, begin: Callable[..., subprocess.Popen[str]]
) -> None:
    run = begin(target.pid)
    target.do("run 5")
    target.process.kill()
    target.process.wait()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert len(out.splitlines()) == THREADS * 5 and "Traceback" not in err
