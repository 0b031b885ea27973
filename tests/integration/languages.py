"""The languages of control programs, and the compilers that their tests run with."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import pytest

from tests.vm.fetch import Apt, cache, made_once
from wbpf.build.control import rust_target
from wbpf.build.project import Language

#: `rust` is this system's; `rust-wasip1` has that target, with Debian 13's compiler if need be.
NAMES = [
    "c",
    "rust",
    pytest.param("rust-wasip1", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    pytest.param("go", marks=pytest.mark.slow),
]
_SUITE, _PACKAGES = "trixie", ("rustc", "cargo", "libstd-rust-dev-wasm32", "lld")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_COMMANDS = {
    "rustc": "usr/bin/rustc",
    "cargo": "usr/bin/cargo",
    "rust-lld": "usr/lib/llvm-*/bin/lld",  # the package rust-llvm names it so
}


def demand(name: str, monkeypatch: pytest.MonkeyPatch) -> Language:
    """One of NAMES as a language whose compiler is on PATH; skips where there is none."""
    if name == "rust" and rust_target() is None:
        pytest.skip("needs Rust target wasm32-wasip1: rustup target add wasm32-wasip1")
    if name == "go" and shutil.which("go") is None:
        pytest.skip("needs Go 1.24: no go on PATH")
    if name == "rust-wasip1":
        if rust_target() != "wasm32-wasip1":
            monkeypatch.setenv("PATH", f"{fetch_rust() / 'bin'}:{os.environ['PATH']}")
        assert rust_target() == "wasm32-wasip1"
        return "rust"
    assert name in ("c", "rust", "go")
    return name


def fetch_rust() -> Path:
    """Debian 13's Rust in a folder of its own, with its C library; `bin` has what runs it."""
    architecture = _ARCHITECTURES[platform.machine()]
    folder = cache() / f"rust-{_SUITE}-{architecture}"
    with made_once(folder) as empty:
        if empty:
            status = empty / "status"
            status.touch()
            apt = Apt(empty / "apt", (_SUITE,), architecture, status)
            apt.run("apt-get", "update")
            plan = apt.run("apt-get", "install", "--simulate", *_PACKAGES)
            names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
            apt.unpack([one for one in names if _is_wanted(one)], empty)
            shutil.rmtree(empty / "apt")
            _make_commands(empty, folder)
    return folder


def _is_wanted(package: str) -> bool:
    """Not the C compiler, which is for programs of this system."""
    is_library = package.startswith(("lib", "zlib", "lld-")) and not package.endswith("-dev")
    return package in _PACKAGES or is_library


def _make_commands(unpacked: Path, folder: Path) -> None:
    (loader,) = unpacked.glob("usr/lib*/ld-linux-*.so.?")
    (libraries,) = unpacked.glob("usr/lib/*-linux-gnu")
    (unpacked / "bin").mkdir()
    for name, pattern in _COMMANDS.items():
        (program,) = unpacked.glob(pattern)
        words = [folder / one.relative_to(unpacked) for one in (loader, libraries, program)]
        script = unpacked / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {words[0]} --library-path {words[1]} {words[2]} "$@"\n')
        script.chmod(0o755)
