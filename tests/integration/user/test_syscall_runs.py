"""Programs at system calls through `wbpf run`: what they count, and what is left when the run ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.user import calling
from wbpf.build import Project, build

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
pytest.importorskip("wasmtime", reason="needs wasmtime: install wbpf[wasm]")
pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="needs x86-64: the kernel dispatches system calls there alone"
)
PROGRAMS = Path(__file__).parents[3] / "programs"
RUN = (sys.executable, "-m", "wbpf.cli", "run", "--backend", "user", "--allow", "all", "-o", "json")
CALLING = (sys.executable, calling.__file__)
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


class Calling:
    """A running calling.py."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder, self.process, self.pid = folder, process, process.pid
        self.rounds = 0

    def do(self, command: str = "look") -> None:
        """Have it carry out a command: all that it and its threads did is right, and they go on."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        rounds, wrong, *why = self.process.stdout.readline().split(maxsplit=2)
        assert wrong == "0", why
        self.rounds = int(rounds)

    def goes_on(self) -> None:
        """Its threads come to new rounds, all right ones."""
        self.do()
        before = self.rounds
        wait_for(lambda: (self.do(), self.rounds > before + 3 * calling.THREADS)[1])

    def code(self) -> dict[str, bytes]:
        """The instructions of its files but ours."""
        found: dict[str, bytes] = {}
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            place, protection, _, _, _, *path = line.split(maxsplit=5)
            if "x" in protection and path and path[0].startswith("/") and "libwbpf" not in path[0]:
                start, end = (int(one, 16) for one in place.split("-"))
                with Path(f"/proc/{self.pid}/mem").open("rb") as memory:
                    memory.seek(start)
                    found[path[0]] = found.get(path[0], b"") + memory.read(end - start)
        return found

    def is_as(self, before: dict[str, bytes]) -> bool:
        """Whether it has the instructions that it had; behind them may be those that loaded the runtime."""
        now = self.code()
        return all(now[path].startswith(code.rstrip(b"\0")) for path, code in before.items())


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("modules")
    names = ("opensnoop", "execve")
    return {name: build(Project.load(PROGRAMS / name), folder / f"{name}.wasm").path for name in names}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calling]:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "calls")
    with subprocess.Popen(
        [*CALLING, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        one = Calling(tmp_path, process)
        one.goes_on()
        yield one
        process.kill()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts `wbpf run`; its events go to a file."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: object) -> subprocess.Popen[bytes]:
        with (tmp_path / "events").open("wb") as output, (tmp_path / "log").open("wb") as log:
            command = [*RUN, *map(str, arguments)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=log)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def told(folder: Path, begin: str) -> list[tuple[str, int]]:
    """Of the events of files whose names begin so: the rest of the name, and the result."""
    lines = (folder / "events").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    prefix = f"{folder}/{begin}"
    return [
        (one["filename"].removeprefix(prefix), one["result"])
        for one in events
        if one["filename"].startswith(prefix)
    ]


def numbers(count: int) -> list[tuple[str, int]]:
    return [(str(number), -2) for number in range(count)]


def wait_for(done: Callable[[], object], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def wait_until_traced(folder: Path, run: subprocess.Popen[bytes]) -> None:
    """Its own threads open files all the time."""
    wait_for(lambda: told(folder, "nothing") or run.poll() is not None)
    assert run.poll() is None, (folder / "log").read_text()


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_runs(
    calls: Calling,
    modules: dict[str, Path],
    begin: Callable[..., subprocess.Popen[bytes]],
    end: signal.Signals,
) -> None:
    """Each of its calls is told once; when the run ends it is as it was, and can be traced again."""
    before = calls.code()
    assert len(before) > 2
    for _ in range(2):
        run = begin(modules["opensnoop"], "--pid", calls.pid)
        wait_until_traced(calls.folder, run)
        assert not calls.is_as(before), "no call was rewritten: nothing is to be restored"
        calls.do("open file 100")
        wait_for(lambda: len(told(calls.folder, "file")) == 100)
        calls.goes_on()
        run.send_signal(end)
        assert run.wait(30) == (-end if end == signal.SIGKILL else 128 + end)
        assert told(calls.folder, "file") == numbers(100)
        wait_for(lambda: calls.is_as(before))
        calls.goes_on()
        seen = (calls.folder / "events").read_bytes()
        calls.do("open file 5")
        assert (calls.folder / "events").read_bytes() == seen


def test_calls_to_execute(
    calls: Calling, modules: dict[str, Path], begin: Callable[..., subprocess.Popen[bytes]]
) -> None:
    run = begin(modules["execve"], "--pid", calls.pid)
    wait_for(lambda: (calls.do("exec first 1"), told(calls.folder, "first"))[1])
    calls.do("exec program 20")
    wait_for(lambda: len(told(calls.folder, "program")) >= 20)
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 130
    assert told(calls.folder, "program") == numbers(20)
    calls.goes_on()


def _killed_at_any_time(calls: Calling, begin: Callable[[], subprocess.Popen[bytes]], times: int) -> None:
    numbers = random.Random(7)
    for _ in range(times):
        run = begin()
        time.sleep(numbers.uniform(0.2, 1.2))
        run.kill()
        run.wait()
        calls.goes_on()


@pytest.mark.parametrize("times", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_at_any_time(
    calls: Calling, modules: dict[str, Path], begin: Callable[..., subprocess.Popen[bytes]], times: int
) -> None:
    """Also while it loads the runtime, attaches, or detaches; the one after it traces all the same."""
    before = calls.code()
    _killed_at_any_time(calls, lambda: begin(modules["opensnoop"], "--pid", calls.pid), times)
    wait_for(lambda: calls.is_as(before))
    run = begin(modules["opensnoop"], "--pid", calls.pid)
    wait_until_traced(calls.folder, run)
    calls.do("open file 30")
    wait_for(lambda: len(told(calls.folder, "file")) == 30)
    assert told(calls.folder, "file") == numbers(30)


@pytest.mark.parametrize("end", ENDS)
def test_a_command(
    modules: dict[str, Path],
    begin: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: signal.Signals,
) -> None:
    """Is ended with the run; if that is killed it goes on, untraced, with right results."""
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    back, to = tmp_path / "back", tmp_path / "to"
    os.mkfifo(to)
    script = f"echo $$ > {tmp_path}/pid; exec {sys.executable} {calling.__file__} {tmp_path} <{to} >{back}"
    run = begin(modules["opensnoop"], "--", "sh", "-c", script)
    with to.open("w", buffering=1) as commands:
        pid = int((tmp_path / "pid").read_text())
        wait_until_traced(tmp_path, run)
        commands.write("open file 50\n")
        wait_for(lambda: len(told(tmp_path, "file")) == 50)
        run.send_signal(end)
        assert run.wait(30) == (-end if end == signal.SIGKILL else 128 + end)
        assert told(tmp_path, "file") == numbers(50)
        if end != signal.SIGKILL:
            assert not Path(f"/proc/{pid}").exists()
            return
        answers = len(back.read_text().splitlines())
        for _ in range(5):
            time.sleep(0.05)
            commands.write("look\n")
        wait_for(lambda: len(back.read_text().splitlines()) == answers + 5)
    rounds, wrong = zip(
        *(map(int, line.split()[:2]) for line in back.read_text().splitlines()[1:]), strict=True
    )
    assert set(wrong) == {0} and sorted(set(rounds)) == list(rounds)
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())


FORKING = """echo $$ > pid; i=0
while [ $i -lt 150 ]; do v=$(/bin/echo $i) && [ "$v" = $i ] || break; i=$((i+1)); done
echo $i > end"""


@pytest.mark.parametrize("times", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_a_command_that_forks_goes_on_if_its_run_is_killed(
    modules: dict[str, Path],
    begin: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
) -> None:
    """Children that wait to be traced as well."""
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.chdir(tmp_path)
    numbers, untimely = random.Random(7), 0
    for _ in range(times):
        for name in ("pid", "end"):
            (tmp_path / name).unlink(missing_ok=True)
        run = begin(modules["opensnoop"], "--", "sh", "-c", FORKING)
        wait_for((tmp_path / "pid").exists)
        time.sleep(numbers.uniform(0, 0.4))
        untimely += not (tmp_path / "end").exists()
        run.kill()
        run.wait()
        wait_for(lambda: (tmp_path / "end").exists() and (tmp_path / "end").read_text())
        assert (tmp_path / "end").read_text() == "150\n"
    assert untimely
