"""A C program with probe sites, and the eBPF programs for them; built once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wbpf._native
from wbpf.build import compile_bpf

C_ROOT = Path(wbpf._native.__file__).parent / "_c"
HERE = Path(__file__).parent


class Target:
    """A running sites.c."""

    def __init__(self, process: subprocess.Popen[str], program: Path) -> None:
        self.process, self.program, self.pid = process, program, process.pid

    def do(self, command: str) -> str:
        """Have it carry out a command; what it printed before it was done."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer.endswith("done"), f"{command}: {answer!r}"
        return answer.removesuffix("done").strip()


@pytest.fixture(scope="session")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_bpf(HERE / "order.bpf.c", tmp_path_factory.mktemp("sites") / "order.bpf.o").read_bytes()


@pytest.fixture(scope="session")
def sites_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("sites") / "sites"
    library = C_ROOT / "lib"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{C_ROOT / 'include'}"]
    command = ["gcc", *flags, HERE / "sites.c", "-o", program, f"-L{library}", "-lwbpf", "-pthread"]
    subprocess.run([*command, f"-Wl,-rpath,{library}"], check=True)
    return program


@pytest.fixture
def start(
    sites_program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Target]]:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    monkeypatch.setenv("WBPF_HOST", "shop")
    started = []

    def run() -> Target:
        process = subprocess.Popen(
            [sites_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        started.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return Target(process, sites_program)

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def target(start: Callable[[], Target]) -> Target:
    return start()
