"""Translated programs that are kept in the user's cache, or made when a module was built."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE
from wbpf.bpf.user.blobs import Part, Translation, pack, unpack
from wbpf.build import Project, build
from wbpf.errors import FormatError
from wbpf.wasm.sections import read_sections

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
pytest.importorskip("wasmtime", reason="needs wasmtime: install wbpf[wasm]")

BOTH = HERE.parent / "wasm" / "both"
KEY = "ab" * 24
ONE = Translation(b"\x90" * 64, {"one": Part(3, (1, 2), True), "two": Part(40, (), False)})
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ahead") / "both.wasm"
    return build(Project.load(BOTH), out, aot=("x86_64", "aarch64")).path


@pytest.fixture
def run(both: Path, tmp_path: Path) -> Run:
    """Runs the module in user space, with LLVM or where it is not installed."""
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "llvmlite.py").write_text("raise ImportError('it is not here')\n")

    def once(*words: str, llvm: bool, after: str = "--no-verbose") -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "WBPF_CACHE_DIR": str(tmp_path / "cache")}
        if not llvm:
            env["PYTHONPATH"] = str(missing)
        command = [sys.executable, "-m", "wbpf.cli", "run", "--backend", "user", *words, str(both), after]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env)

    return once


def test_the_second_start_needs_no_translator(run: Run, tmp_path: Path) -> None:
    without = run("--allow", "all", llvm=False)
    assert without.returncode == 1 and "the translator to machine code is missing" in without.stderr
    first = run("--allow", "all", llvm=True)
    assert first.returncode == 0 and "runs: " in first.stdout
    (kept,) = (tmp_path / "cache" / "user").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    second = run("--allow", "all", llvm=False)
    assert (second.returncode, second.stdout) == (0, first.stdout)


@pytest.mark.parametrize("how", ["folder", "file", "damaged"])
def test_what_others_could_have_written_is_not_run(run: Run, tmp_path: Path, how: str) -> None:
    assert run("--allow", "all", llvm=True).returncode == 0
    folder = tmp_path / "cache" / "user"
    (kept,) = folder.iterdir()
    if how == "folder":
        folder.chmod(0o777)
    elif how == "file":
        kept.chmod(0o666)
    else:
        content = bytearray(kept.read_bytes())
        content[-5] ^= 1
        kept.write_bytes(content)
    refused = run("--allow", "all", llvm=False)
    assert refused.returncode == 1 and "the translator to machine code is missing" in refused.stderr
    assert run("--allow", "all", llvm=True).returncode == 0


def test_a_modules_own_code_is_used_only_for_who_trusts_it(run: Run, both: Path, tmp_path: Path) -> None:
    assert {"wbpf.aot.x86_64", "wbpf.aot.aarch64"} <= read_sections(both.read_bytes()).keys()
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("needs x86_64 or aarch64: nothing else is translated for")
    refused = run("--allow", "all", llvm=False, after="as-built")
    assert refused.returncode == 1 and "translator" in refused.stderr
    trusted = run("--allow", "all,native", llvm=False, after="as-built")
    assert trusted.returncode == 0 and "runs: " in trusted.stdout, trusted.stderr
    # With another constant it is another program: what was built does not fit.
    other = run("--allow", "all,native", llvm=False)
    assert other.returncode == 1 and "translator" in other.stderr
    assert not (tmp_path / "cache" / "user").exists()


def test_they_are_found_by_their_key() -> None:
    section = pack({"cd" * 24: Translation(b"\0", {}), KEY: ONE})
    assert unpack(section, KEY) == ONE
    assert unpack(section, "ef" * 24) is None
    for end in range(1, len(section)):
        with pytest.raises(FormatError):
            assert unpack(section[:end], KEY) is None
            raise FormatError("none of it was there")


def test_every_changed_byte_is_noticed() -> None:
    kept = ONE.to_bytes()
    assert Translation.parse(kept) == ONE
    for at in range(len(kept)):
        with pytest.raises(FormatError):
            Translation.parse(kept[:at] + bytes([kept[at] ^ 0x40]) + kept[at + 1 :])
