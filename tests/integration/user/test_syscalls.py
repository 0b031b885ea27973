"""System calls of processes, traced without the kernel's eBPF."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.attach.syscall_numbers import NUMBERS
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.errors import ConfigError

pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="needs x86-64: the kernel dispatches system calls there alone"
)
COMMANDS = {
    "sh": ["sh", "-c", "for i in 1 2 3; do /bin/true; /bin/echo $(cat /etc/hostname) | wc -c; done"],
    "python": [sys.executable, "-c", "import subprocess; print(subprocess.check_output(['ls', '/']))"],
    "threads": [
        sys.executable,
        "-c",
        """
import threading
def run():
    for i in range(200): open('/dev/null').close()
all = [threading.Thread(target=run) for _ in range(4)]
[one.start() for one in all]; [one.join() for one in all]; print('done')
""",
    ],
    "git": [
        "sh",
        "-c",
        "git init -q .; git -c user.name=a -c user.email=b commit -q --allow-empty -m x; git log --format=%s",
    ],
    "make": ["sh", "-c", r"printf 'all: a b\na b:\n\t@echo made $@\n' > Makefile; make -j2 -Otarget | sort"],
}


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("syscalls") / "syscalls.bpf.o"
    return compile_bpf(HERE / "syscalls.bpf.c", out).read_bytes()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "calls")


def traced_run(elf: bytes, argv: list[str], cwd: Path, *programs: str) -> tuple[bytes, UserObject]:
    """What a command printed, and the object whose programs were attached."""
    script = ["sh", "-c", f'cd {cwd} && exec "$@"', "sh", *argv]
    with Traced.launch(script, stdout=subprocess.PIPE) as traced:
        one = UserObject(elf, "syscalls", traced=traced)
        one.load()
        for name in programs:
            one.programs[name].attach()
        traced.go()
        assert traced.process is not None
        output = traced.process.communicate(timeout=60)[0]
        assert traced.process.returncode == 0
        assert traced.problems == []
    return output, one


def strace_counts(argv: list[str], cwd: Path) -> Counter[str]:
    log = cwd / "strace.txt"
    script = ["sh", "-c", f'cd {cwd} && exec "$@"', "sh", *argv]
    subprocess.run(["strace", "-f", "-o", log, *script], check=True, stdout=subprocess.DEVNULL)
    names = re.findall(r"^\d+ +(\w+)\(", log.read_text(errors="replace"), re.M)
    return Counter(names)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_do_what_they_did(name: str, elf: bytes, tmp_path: Path) -> None:
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    plain.mkdir()
    watched.mkdir()
    argv = COMMANDS[name]
    expected = subprocess.run(argv, cwd=plain, check=True, stdout=subprocess.PIPE).stdout
    output, one = traced_run(elf, argv, watched, "on_any", "on_openat", "after_openat", "after_execve")
    with one:
        assert output == expected.replace(bytes(plain), bytes(watched))  # make tells where it is
        assert one.variables["entries"] > 50
        assert one.variables["opened"] == one.variables["after"] > 3


def test_each_call_is_counted_as_strace_does(elf: bytes, tmp_path: Path) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace: apt install strace")
    script = (
        "import os\n"
        "for n in range(20):\n"
        "    os.getpgid(0); os.kill(os.getpid(), 0); os.chdir('/'); os.sched_yield()\n"
        "    os.waitpid(os.posix_spawn('/bin/true', ['true'], {**os.environ}), 0)\n"
        "    if os.fork() == 0: os.getsid(0); os._exit(0)\n"
        "    os.wait()\n"
    )
    argv = [sys.executable, "-I", "-S", "-c", script]
    told = strace_counts(argv, tmp_path)
    _, one = traced_run(elf, argv, tmp_path, "on_any", "after_execve", "on_raw")
    with one:
        by_number = memoryview(one.variables["by_number"]).cast("Q")
        exact = (
            "getpgid",
            "kill",
            "chdir",
            "sched_yield",
            "getsid",
            "wait4",
            "execve",
            "exit_group",
            "vfork",
        )
        seen = {call: by_number[NUMBERS[call]] for call in exact}
        # The runtime is loaded by the first execve, which is not traced itself.
        assert seen == {call: told[call] - (call == "execve") for call in exact}
        assert seen["getpgid"] == seen["getsid"] == 20
        assert one.variables["execs"] == told["execve"]


def test_what_programs_see(elf: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_text("")
    code = f'import os; os.getpgid(os.getpid()); os.open("{path}", 0); os._exit(0)'
    script = f"exec {sys.executable} -I -S -c '{code}'"
    _, one = traced_run(elf, ["sh", "-c", script], tmp_path, "on_openat", "after_execve", "on_raw")
    with one:
        assert one.variables["file"] == str(path)[:63]
        assert str(one.variables["name"]).startswith("python")
        assert one.variables["raw"] == one.variables["pid"]
        assert one.variables["pid"] == one.variables["tid"] > 1
        assert one.variables["execs"] >= 3  # sh, sh, python3


def test_attached_and_detached_while_it_runs(elf: bytes, tmp_path: Path) -> None:
    """Threads that are there already are traced, calls that wait are not disturbed, all goes on without."""
    script = (
        "import threading, time\n"
        "def run():\n"
        "    while True: open('/dev/null').close()\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "print('ready', flush=True)\n"
        "time.sleep(3)\n"
        "print('slept', flush=True)\n"
    )
    with Traced.launch([sys.executable, "-c", script], stdout=subprocess.PIPE) as traced:
        traced.go()
        assert traced.process is not None and traced.process.stdout is not None
        assert traced.process.stdout.readline() == b"ready\n"
        with UserObject(elf, "syscalls", traced=traced) as one:
            one.load()
            for _ in range(5):
                with one.programs["on_openat"].attach():
                    before = one.variables["opened"]
                    wait_for(lambda before=before: one.variables["opened"] > before + 100)
                counted = one.variables["opened"]
                time.sleep(0.05)
                assert one.variables["opened"] == counted
            assert traced.process.stdout.readline() == b"slept\n"
            assert traced.process.wait(20) == 0


def test_targets_that_there_are_not(elf: bytes) -> None:
    with UserObject(elf, "syscalls") as one:
        one.load()
        with pytest.raises(ConfigError, match="openat"):
            one.programs["on_openat"].attach("syscalls:sys_enter_openatt")
        with pytest.raises(ConfigError, match="--pid"):
            one.programs["on_openat"].attach()
        with pytest.raises(ConfigError, match="sched"):
            one.programs["on_openat"].attach("sched:sched_switch")


def wait_for(done: Callable[[], object], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)
