"""Modules as third parties build them for wasm-bpf: C on WASI, an object in their data, run by `wbpf run`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wbpf.bpf import features
from wbpf.build.zig import compile_c, zig_include

HERE = Path(__file__).parent
INCLUDE = ("any-linux-any", "x86-linux-any")  # the second has asm/, the same on arm64
Build = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def able() -> None:
    """The suite needs root, BTF and a compiler."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang: install wbpf[build]")
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")


@pytest.fixture(scope="session")
def build(able: None, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compiles bpf/NAME.bpf.c for a generation of instructions, and guests/NAME.c around it."""
    folder = tmp_path_factory.mktemp("wasm_bpf")

    def build_once(name: str, cpu: str = "v3", *flags: str, guest: str = "") -> Path:
        wasm = folder / f"{name}.{guest}.{cpu}.wasm"
        elf = wasm.with_suffix(".o")
        if not wasm.exists():
            system = [flag for part in INCLUDE for flag in ("-idirafter", str(zig_include(part)))]
            target = ("-target", "bpfel-freestanding", "-O2", "-g", f"-mcpu={cpu}", "-I/usr/include", *system)
            compile_c([HERE / f"bpf/{name}.bpf.c"], elf, [*target, "-D__TARGET_ARCH_x86", *flags, "-c"])
            around = ("-target", "wasm32-wasi", "-O2", "-std=gnu23", f'-DOBJECT="{elf}"')
            compile_c([HERE / f"guests/{guest or name}.c"], wasm, [*around, "-Wl,--export-table"])
        return wasm

    return build_once


class Running:
    """`wbpf run` in a process of its own; its text is in files, so that no pipe fills."""

    def __init__(self, folder: Path, module: Path, *arguments: str, before: tuple[str, ...] = ()) -> None:
        self.out, self.err = folder / "out", folder / "err"
        command = [*before, str(Path(sys.executable).with_name("wbpf")), "run", str(module), "--", *arguments]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def ready(self) -> Running:
        """Wait until the module says that it is attached."""
        end = time.monotonic() + 30
        while "ready\n" not in self.out.read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < end, "not ready"
            time.sleep(0.02)
        return self

    def end(self, status: int = 0) -> list[str]:
        """Its lines after `ready`, when it has ended with this status."""
        found = self.process.wait(30)
        assert found == status, f"{found}: {self.err.read_text()}"
        lines = self.out.read_text().splitlines()
        return lines[lines.index("ready") + 1 :] if "ready" in lines else lines


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts modules; what still runs at the end is killed."""
    started: list[Running] = []

    def start(module: Path, *arguments: object, before: tuple[str, ...] = ()) -> Running:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Running(folder, module, *map(str, arguments), before=before))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """An empty cgroup of version 2."""
    for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (root / "cgroup.procs").exists() and (root / "cgroup.controllers").exists():
            made = root / f"wbpf-test-{os.getpid()}"
            made.mkdir()
            yield made
            made.rmdir()
            return
    pytest.skip("needs cgroup v2: none is mounted")
