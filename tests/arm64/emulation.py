"""Programs for arm64, compiled by zig and run by QEMU in user mode with Debian's C library."""

from __future__ import annotations

import fcntl
import platform
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.vm.fetch import fetch_libc_arm64, fetch_qemu_user

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
BUILD = ROOT / "build/arm64-tests"
ARCHITECTURES = ("aarch64", "x86_64")
_FLAGS = ["-O2", "-g1", "-std=c11", "-UNDEBUG", "-Wall", "-Wextra", "-Werror"]
_FLAGS += ["-D_GNU_SOURCE", '-DWBPF_VERSION="0"', f"-I{NATIVE}", f"-I{NATIVE / 'include'}"]
#: As native/CMakeLists.txt has them, but for names that can be seen: the C tests use internal ones.
_LIBRARY_FLAGS = ["-shared", "-fPIC", "-ftls-model=initial-exec", "-fno-semantic-interposition"]
_FOLDERS = ("recorder", "pool", "pooled", "maps", "user")


def compile_for(arch: str, source: Path) -> Path:
    """Compile a program that is linked with our library; what did not change is not compiled again."""
    folder = BUILD / arch
    out = folder / source.stem
    with _locked(folder):
        _compile(arch, [source], out, f"-L{folder}", f"-l:{_library(arch).name}", "-Wl,-rpath,$ORIGIN", "-lm")
    return out


@cache
def _library(arch: str) -> Path:
    out = BUILD / arch / "libwbpf.so"
    sources = [path for name in _FOLDERS for path in sorted((NATIVE / name).glob("*.c"))]
    _compile(arch, sources, out, *_LIBRARY_FLAGS, "-Wl,-Bsymbolic", "-lm")
    return out


def _compile(arch: str, sources: list[Path], out: Path, *flags: str) -> None:
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    from wbpf.build.zig import compile_c

    cpu = {"aarch64": "generic", "x86_64": "x86_64_v2"}[arch]
    target = ("-target", f"{arch}-linux-gnu.2.36", f"-mcpu={cpu}")
    compile_c(sources, out, [*target, *_FLAGS, *flags])


class _locked:
    """One process at a time compiles into a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / ".lock").open("w")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def run_for(
    arch: str, program: Path, *arguments: str, given: bytes = b"", timeout_s: float = 240
) -> subprocess.CompletedProcess[bytes]:
    """Run a program of `compile_for`; arm64's in emulation."""
    if platform.machine() != "x86_64":
        pytest.skip("needs x86-64: packages of QEMU are fetched for it alone")
    command: list[str | Path] = [program, *arguments]
    if arch == "aarch64":
        command[:0] = [fetch_qemu_user(), "-L", fetch_libc_arm64()]
    return subprocess.run(command, input=given, capture_output=True, timeout=timeout_s, check=False)
