"""What the tests of building share: a compiler, and one folder of what it made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from wbpf.build import compile_bpf

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compiler() -> None:
    """Skips where there is no compiler."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs ziglang: install wbpf[build]")


@pytest.fixture(scope="session")
def compiled(compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compiles a text of C; once for the same text and flags."""
    folder = tmp_path_factory.mktemp("objects")
    known: dict[tuple[str, ...], Path] = {}

    def compile_text(text: str, *flags: str) -> Path:
        key = (text, *flags)
        if key not in known:
            source = folder / f"case{len(known)}.bpf.c"
            source.write_text(text)
            known[key] = compile_bpf(source, source.with_suffix(".o"), "-Werror", *flags)
        return known[key]

    return compile_text
