"""Programs at functions of another process that was not made for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.errors import BpfError, ConfigError

THREADS = 4


class Target:
    """A running functions.c."""

    def __init__(self, program: Path, traced: Traced) -> None:
        self.program, self.traced, self.pid = program, traced, traced.pid
        assert traced.process is not None
        self.process = traced.process

    def do(self, command: str) -> int:
        """Have it carry out a command; all its results must be right. How many signals it handled so far."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode()
        wrong, _, rest = answer.partition(" ")
        assert wrong == "0", f"{command}: {answer!r}, exit status {self.process.poll()}"
        return int(rest.split()[0])

    def code(self) -> bytes:
        """Its instructions, and how they are protected."""
        found = b""
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            place, protection, *_ = line.split()
            if line.endswith(str(self.program)) and "x" in protection:
                start, end = (int(one, 16) for one in place.split("-"))
                with Path(f"/proc/{self.pid}/mem").open("rb") as memory:
                    memory.seek(start)
                    found += memory.read(end - start) + (b"" if protection == "r-xp" else b"not protected")
        return found


@pytest.fixture(scope="session")
def functions_elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_bpf(
        HERE / "functions.bpf.c", tmp_path_factory.mktemp("functions") / "functions.bpf.o"
    ).read_bytes()


@pytest.fixture(scope="session")
def functions_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("functions") / "functions"
    wide = ["-mavx"] if "avx" in Path("/proc/cpuinfo").read_text().split() else []
    flags = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", *wide]
    subprocess.run(["gcc", *flags, HERE / "functions.c", "-o", program], check=True)
    return program


@pytest.fixture
def start(
    functions_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Target]]:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "hooks")
    started = []

    def run() -> Target:
        traced = Traced.launch([functions_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(traced)
        return Target(functions_program, traced)

    yield run
    for traced in started:
        assert traced.process is not None
        traced.process.kill()
        traced.process.communicate()
        traced.close()


def go(target: Target) -> Target:
    target.traced.go()
    assert target.process.stdout is not None and target.process.stdout.readline() == b"ready\n"
    return target


@pytest.fixture
def target(start: Callable[[], Target]) -> Target:
    return go(start())


def probes(elf: bytes, target: Target) -> UserObject:
    loaded = UserObject(elf, "functions", traced=target.traced)
    loaded.load()
    return loaded


def test_every_call_is_counted_while_attached_and_none_else(target: Target, functions_elf: bytes) -> None:
    before = target.code()
    program = probes(functions_elf, target)
    target.do("run 1000")
    with program.programs["on_entry"].attach(f"{target.program}:work") as link:
        assert target.code() != before
        target.do("run 20000")
        assert program.variables["count"] == THREADS * 20000
        assert program.variables["sum"] == THREADS * sum(range(20000))
        ended = link.detach()
    assert (ended.stopped, ended.missed) == (0, 0)
    assert target.code() == before
    target.do("run 1000")
    assert program.variables["count"] == THREADS * 20000


def test_returns(target: Target, functions_elf: bytes) -> None:
    before = target.code()
    program = probes(functions_elf, target)
    with (
        program.programs["on_return"].attach(f"{target.program}:work"),
        program.programs["on_entry"].attach(f"{target.program}:work"),
    ):
        target.do("run 1000")
        assert program.variables["count"] == program.variables["returned"] == THREADS * 1000
        assert program.variables["results"] == THREADS * sum(3 * i + 5 for i in range(1000))
    assert target.code() == before
    with program.programs["on_return"].attach(f"{target.program}:recurses"):
        target.do("others")
        assert program.variables["returned"] == THREADS * 1000 + 101
    with program.programs["on_return"].attach(f"{target.program}:leaves"):
        target.do("jumps")
        assert program.variables["returned"] == THREADS * 1000 + 101 + 100


def test_functions_that_jump_to_each_other_return_once_each(target: Target, functions_elf: bytes) -> None:
    program = probes(functions_elf, target)
    with (
        program.programs["on_return"].attach(f"{target.program}:jumps_on"),
        program.programs["on_return"].attach(f"{target.program}:jumped_to"),
    ):
        target.do("others")
    assert (program.variables["returned"], program.variables["results"]) == (2, 14)


@pytest.mark.parametrize(
    "name", ["branches", "reads_global", "tiny", "mixes", "recurses", "jumps_on", "jumped_to", "widens"]
)
def test_what_functions_compute_stays_right(name: str, target: Target, functions_elf: bytes) -> None:
    if name == "widens" and "avx" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("needs AVX: the function has wide vector registers")
    program = probes(functions_elf, target)
    with (
        program.programs["on_entry"].attach(f"{target.program}:{name}"),
        program.programs["on_return"].attach(f"{target.program}:{name}"),
    ):
        target.do("others")
        assert program.variables["count"] == program.variables["returned"] > 0


def test_arguments_and_cookies(target: Target, functions_elf: bytes) -> None:
    program = probes(functions_elf, target)
    with program.programs["on_arguments"].attach(f"{target.program}:mixes", cookie=77):
        target.do("others")
    seen = list(memoryview(bytes(program.variables["arguments"])).cast("B").cast("Q"))
    assert (seen, program.variables["cookies"]) == ([1, 2, 3, 4, 5, 6], 77)


def test_places_by_offset(target: Target, functions_elf: bytes) -> None:
    lines = (
        subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", target.program],
            capture_output=True,
            text=True,
            check=True,
        )
        .stdout.split("<work>:\n")[1]
        .splitlines()
    )
    first, second = (int(line.partition(":")[0], 16) for line in lines[:2])
    program = probes(functions_elf, target)
    with program.programs["on_entry"].attach(f"{target.program}:{first:#x}"):  # this file's offset too
        target.do("run 10")
    assert program.variables["count"] == THREADS * 10
    with program.programs["on_entry"].attach(f"{target.program}:work+{second - first}"):
        target.do("run 10")
    assert program.variables["count"] == THREADS * 20
    with program.programs["on_entry"].attach("libc.so.6:usleep") as link:
        target.do("signals")
        link.detach()
        assert program.variables["count"] == THREADS * 20 + 2000


def test_places_by_line(target: Target, functions_elf: bytes) -> None:
    source = (HERE / "functions.c").read_text().splitlines()
    line = next(at for at, text in enumerate(source, 1) if "return a * 3 + b;" in text)
    program = probes(functions_elf, target)
    with program.programs["on_entry"].attach(f"{target.program}:functions.c:{line}"):
        target.do("run 10")
    assert program.variables["count"] == THREADS * 10
    with pytest.raises(BpfError, match="has no code at line 100000"):
        program.programs["on_entry"].attach(f"{target.program}:functions.c:100000")


def test_detaching_under_load(target: Target, functions_elf: bytes) -> None:
    before = target.code()
    program = probes(functions_elf, target)
    target.do("spin")
    for name in ("work", "branches", "reads_global") * 10:
        count = program.variables["count"]
        entry = program.programs["on_entry"].attach(f"{target.program}:{name}")
        leaving = program.programs["on_return"].attach(f"{target.program}:{name}")
        deadline = time.monotonic() + 10
        while program.variables["count"] < count + 100:
            assert time.monotonic() < deadline
        entry.detach()
        count = program.variables["count"]
        leaving.detach()
        returned = program.variables["returned"]
        assert target.code() == before
        time.sleep(0.001)
        assert (program.variables["count"], program.variables["returned"]) == (count, returned)
    target.do("rest")


def test_signal_handlers_are_counted_or_missed(target: Target, functions_elf: bytes) -> None:
    program = probes(functions_elf, target)
    with program.programs["on_entry"].attach(f"{target.program}:work") as link:
        handled = target.do("signals")
        ended = link.detach()
    assert handled > 100
    assert program.variables["count"] + ended.missed == 400000 + handled


def test_children(start: Callable[[], Target], functions_elf: bytes) -> None:
    target = start()
    program = probes(functions_elf, target)
    with (
        program.programs["on_entry"].attach(f"{target.program}:work"),
        program.programs["on_return"].attach(f"{target.program}:work"),
    ):
        go(target)
        target.do("run 10")
        target.do("fork")
        target.do("fork")
        assert program.variables["count"] == program.variables["returned"] == THREADS * 10 + 2 * 10
    assert target.traced.problems == []
    target.do("fork")
    assert program.variables["count"] == THREADS * 10 + 2 * 10


def test_a_killed_tracer_detaches(
    functions_program: Path, functions_elf: bytes, target: Target, tmp_path: Path
) -> None:
    script = (
        "import sys, time\n"
        "from wbpf.bpf.user.attach import Traced\n"
        "from wbpf.bpf.user.objects import UserObject\n"
        "one = UserObject.open(sys.argv[1], traced=Traced.of(int(sys.argv[2])))\n"
        "one.load()\n"
        "kept = [one.programs[n].attach(sys.argv[3]) for n in ('on_entry', 'on_return')]\n"
        "deadline = time.monotonic() + 20\n"
        "while one.variables['returned'] < 1000 and time.monotonic() < deadline: time.sleep(0.01)\n"
        "print(one.variables['returned'], flush=True)\n"
        "time.sleep(60)\n"
    )
    before = target.code()
    (tmp_path / "functions.bpf.o").write_bytes(functions_elf)
    target.do("spin")
    arguments = [sys.executable, "-c", script, str(tmp_path / "functions.bpf.o"), str(target.pid)]
    with subprocess.Popen(
        [*arguments, f"{functions_program}:work"], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as tracer:
        assert tracer.stdout is not None
        assert int(tracer.stdout.readline()) >= 1000
        assert target.code() != before
        tracer.kill()
    deadline = time.monotonic() + 10
    while target.code() != before:
        assert time.monotonic() < deadline, "the killed tracer's program is still there"
        time.sleep(0.01)
    target.do("rest")


def test_a_killed_process_is_told(target: Target, functions_elf: bytes) -> None:
    program = probes(functions_elf, target)
    link = program.programs["on_entry"].attach(f"{target.program}:work")
    target.do("run 10")
    target.process.kill()
    target.process.wait()
    assert program.variables["count"] == THREADS * 10
    with pytest.raises(BpfError, match="the traced process is gone"):
        link.detach()


@pytest.fixture
def running(functions_program: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """functions.c, not launched by a tracer."""
    environ = {**os.environ, "WBPF_DIR": str(tmp_path / "running"), "WBPF_HOST": "hooks"}
    with subprocess.Popen(
        [functions_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_a_process_that_runs_already(
    functions_program: Path, functions_elf: bytes, running: subprocess.Popen[bytes]
) -> None:
    traced = Traced.of(running.pid)
    traced.process = running
    target = Target(functions_program, traced)
    before = target.code()
    program = probes(functions_elf, target)
    with (
        program.programs["on_entry"].attach(f"{target.program}:work"),
        program.programs["on_return"].attach(f"{target.program}:work"),
    ):
        target.do("run 1000")
        assert program.variables["count"] == program.variables["returned"] == THREADS * 1000
        target.do("others")
    assert target.code() == before
    assert Traced.of(running.pid).pid == running.pid


def test_the_runtime_is_loaded_under_load(
    functions_program: Path, functions_elf: bytes, tmp_path: Path
) -> None:
    for number in range(5):
        environ = {**os.environ, "WBPF_DIR": str(tmp_path / f"load{number}"), "WBPF_HOST": "hooks"}
        with subprocess.Popen(
            [functions_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            traced = Traced(process.pid, tmp_path, process)
            target = Target(functions_program, traced)
            target.do("spin")
            assert Traced.of(process.pid).pid == process.pid
            target.do("rest")
            target.do("others")
            process.kill()


def test_a_process_that_sleeps_sleeps_on(functions_program: Path, tmp_path: Path) -> None:
    environ = {**os.environ, "WBPF_DIR": str(tmp_path / "sleeps"), "WBPF_HOST": "hooks"}
    started = time.monotonic()
    with subprocess.Popen(["sleep", "2"], env=environ) as process:
        time.sleep(0.2)
        Traced.of(process.pid)
        assert process.wait(timeout=20) == 0
    assert time.monotonic() - started >= 2


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: another user is tried")
def test_missing_privileges_are_named(running: subprocess.Popen[bytes], tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from wbpf.bpf.user.attach import Traced\n"
        "from wbpf.bpf.user.attach.injecting import inject\n"
        "os.setuid(65534)\n"
        "try: Traced.of(int(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", script, str(running.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("AccessError"), done.stdout + done.stderr
    assert "run as" in done.stdout


def test_the_example_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    root = HERE.parents[2]
    page = (root / "docs/hooks.md").read_text()
    script, program = re.findall(r"^```(?:c|python)\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "calls.bpf.c").write_text(program)
    compile_bpf(tmp_path / "calls.bpf.c", tmp_path / "calls.bpf.o")
    called = root / "tests/integration/programs/called.c"
    subprocess.run(["cc", "-O1", "-o", tmp_path / "called", called], check=True)
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="add 3\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "3 calls\n"


def test_what_can_not_be_hooked_says_why(target: Target, functions_elf: bytes) -> None:
    program = probes(functions_elf, target).programs["on_entry"]
    for place, why in {
        "recurse": r"has no function 'recurse'(.|\n)*recurses",
        "loops": "jumps between the instructions",
        "calls_first": "an instruction 'call'",
        "crowded": "begins at its second instruction",
        "work+0x1000": "has .* bytes",
    }.items():
        with pytest.raises(BpfError, match=why):
            program.attach(f"{target.program}:{place}")
            pytest.fail(place)
    with pytest.raises(BpfError, match="there is no file"):
        program.attach("/usr/lib/libnothing.so:work")
    running = UserObject(functions_elf, "functions", traced=Traced.of(target.pid))
    running.load()
    with pytest.raises(BpfError, match="has not loaded libnothing"):
        running.programs["on_entry"].attach("libnothing.so:work")
    with pytest.raises(BpfError, match="IFUNC"):
        program.attach("libc.so.6:strlen")
    with pytest.raises(ConfigError, match="not of a place in it"):
        probes(functions_elf, target).programs["on_return"].attach(f"{target.program}:work+4")
    target.do("others")
