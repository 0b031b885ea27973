"""Objects compiled once a run, and what looking at them takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from wbpf.bpf import features
from wbpf.bpf.btf import Btf

HERE = Path(__file__).parent

Compile = Callable[[str], Path]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compiles `NAME.bpf.c` of this folder."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang: install wbpf[build]")
    from wbpf.build import compile_bpf

    folder = tmp_path_factory.mktemp("btf")

    def compile_once(name: str) -> Path:
        out = folder / f"{name}.o"
        return out if out.exists() else compile_bpf(HERE / f"{name}.bpf.c", out)

    return compile_once


@pytest.fixture(scope="session")
def kernel() -> Btf:
    """The BTF of the kernel that the tests run on."""
    answer = features.have_kernel_btf()
    if not answer:
        pytest.skip(f"needs {answer.what}: {answer.why}")
    return Btf.of_kernel()


@pytest.fixture(scope="session")
def can_load() -> None:
    """Skips where nothing can be loaded."""
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
