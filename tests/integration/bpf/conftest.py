"""Objects compiled once a run, a process to watch, and a network namespace and cgroup of a test's own."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wbpf.bpf import features

HERE = Path(__file__).parent
_CLONE_NEWNET = 0x40000000

#: For <bpf/usdt.bpf.h> alone.
FLAGS = ({"x86_64": "-D__TARGET_ARCH_x86", "aarch64": "-D__TARGET_ARCH_arm64"}[platform.machine()],)
Compiled = Callable[[str], Path]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compiles `NAME.bpf.c` of this folder; skips where nothing can be loaded."""
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
    given = os.environ.get("WBPF_TEST_OBJECTS")
    folder = tmp_path_factory.mktemp("bpf")

    def compile_once(name: str) -> Path:
        if given:
            return Path(given) / f"{name}.o"
        pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
        from wbpf.build import compile_bpf

        out = folder / f"{name}.o"
        return out if out.exists() else compile_bpf(HERE / f"{name}.bpf.c", out, *FLAGS)

    return compile_once


class Subject:
    """A process that works when it is told to."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def work(self, times: int) -> None:
        """Call `work` and getpgid so often."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{times}\n")
        self._process.stdin.flush()
        assert int(self._process.stdout.readline()) == times * (times + 1) // 2

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program `subject.c`."""
    out = tmp_path_factory.mktemp("subject") / "subject"
    subprocess.run(["cc", "-O1", "-fno-omit-frame-pointer", "-o", out, HERE / "subject.c"], check=True)
    return out


@pytest.fixture
def subject(program: Path) -> Iterator[Subject]:
    one = Subject(program)
    yield one
    one.end()


@pytest.fixture
def network() -> Iterator[tuple[str, str]]:
    """Two interfaces that are one cable's ends, in a network namespace of this thread's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(_CLONE_NEWNET):
        os.close(outside)
        pytest.skip(f"needs CAP_SYS_ADMIN: {os.strerror(ctypes.get_errno())}")
    try:
        for command in (
            "link add wbpf0 type veth peer name wbpf1",
            "link set wbpf0 up",
            "link set wbpf1 up",
            "link set lo up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield "wbpf0", "wbpf1"
    finally:
        assert libc.setns(outside, _CLONE_NEWNET) == 0
        os.close(outside)


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of this test's own, empty."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    root = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
    if root is None:
        pytest.skip("needs cgroup2: it is not mounted")
    one = root / f"wbpf-test-{os.getpid()}"
    one.mkdir()
    yield one
    one.rmdir()
