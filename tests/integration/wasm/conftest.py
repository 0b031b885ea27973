"""eBPF objects compiled once a run; guests are written in WebAssembly's text format."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.integration.wasm.launched import Started
from wbpf.bpf import features
from wbpf.build import compile_bpf
from wbpf.build.zig import compile_c
from wbpf.wasm import Module
from wbpf.wasm.sections import with_sections

HERE = Path(__file__).parent
#: What starts `wbpf`.
COMMAND = Path(sys.executable).parent / "wbpf"
#: Runs `wbpf run` on a module's bytes.
Wbpf = Callable[..., subprocess.CompletedProcess[str]]
_WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
_GETPGID = {"x86_64": 121, "aarch64": 155}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Compiles guest.bpf.c, which traces this process's calls of getpgid."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang: install wbpf[build]")
    folder = tmp_path_factory.mktemp("bpf")

    def compile_once(*flags: str) -> bytes:
        out = folder / f"guest{''.join(flags)}.o"
        if not out.exists():
            number = _GETPGID[platform.machine()]
            given = (f"-DTRACED={os.getpid()}", f"-DNUMBER={number}", *flags)
            compile_bpf(HERE / "guest.bpf.c", out, *given)
        return out.read_bytes()

    return compile_once


@pytest.fixture(scope="session")
def elf(compiled: Callable[..., bytes]) -> bytes:
    """The object, where this host can load it."""
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
    return compiled()


@pytest.fixture
def call() -> Callable[[int], None]:
    """Makes so many traced system calls."""
    getpgid = ctypes.CDLL(None).getpgid

    def make(count: int) -> None:
        for _ in range(count):
            getpgid(0)

    return make


@pytest.fixture(scope="session")
def calls(elf: bytes, tmp_path_factory: pytest.TempPathFactory) -> Module:
    """The guest calls/calls.c, which makes the call that its first argument names."""
    folder = tmp_path_factory.mktemp("calls")
    object_file = compile_bpf(HERE / "calls/calls.bpf.c", folder / "calls.o")
    out = folder / "calls.wasm"
    include = HERE.parents[2] / "sdk/c/include"
    compile_c([HERE / "calls/calls.c"], out, ["-target", "wasm32-wasi", "-O1", f"-I{include}"])
    carried = {"wbpf.object.calls": object_file.read_bytes()}
    return Module(with_sections(out.read_bytes(), carried), "calls")


@pytest.fixture
def wbpf(tmp_path: Path) -> Wbpf:
    """Runs `wbpf run` on a module's bytes, behind another command if one is given.

    By Python, then by the command, which does what it can without Python: they must not differ.
    """
    environment = {**os.environ, "WBPF_CACHE_DIR": str(tmp_path / "cache")}

    def run(
        wasm: bytes, *words: str, unprivileged: bool = False, before: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "app.wasm"
        path.write_bytes(wasm)
        path.chmod(0o644)
        prefix = [*before, *(_WITHOUT_RIGHTS if unprivileged else ())]
        python, command = (
            subprocess.run(
                [*prefix, *wbpf, "run", *words, str(path)],
                capture_output=True, text=True, check=False, env=environment, timeout=60,
            )
            for wbpf in ([sys.executable, "-m", "wbpf.cli"], [str(COMMAND)])
        )  # fmt: skip
        assert (command.returncode, command.stdout, command.stderr) == (
            python.returncode,
            python.stdout,
            python.stderr,
        )
        return command

    return run


@pytest.fixture
def started(tmp_path: Path) -> Started:
    return Started(tmp_path, COMMAND)
