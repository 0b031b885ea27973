"""The same module with its eBPF programs in the kernel and in user space."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.wasm.conftest import HERE
from wbpf.build import Project, build

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")


@pytest.fixture(scope="session")
def both(elf: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that asks maps and rings everything; `elf` is for what the kernel needs."""
    return build(Project.load(HERE / "both"), tmp_path_factory.mktemp("both") / "both.wasm").path


def run(module: Path, *words: str, without: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wbpf.cli", "run", "--allow", "all", *words, str(module)]
    if without:
        command = ["setpriv", f"--bounding-set={without}", f"--inh-caps={without}", *command]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=os.environ)


def test_maps_and_rings_answer_the_same(both: Path) -> None:
    kernel, user = (run(both, "--backend", backend) for backend in ("kernel", "user"))
    assert (kernel.returncode, kernel.stderr) == (0, "")
    assert (user.returncode, user.stderr) == (0, "")
    assert "records: 6220 41419004" in kernel.stdout
    assert user.stdout == kernel.stdout


def test_without_the_kernel_user_space_is_taken_and_that_is_said(both: Path) -> None:
    able = run(both)
    assert (able.returncode, able.stderr) == (0, "")
    if os.geteuid():
        pytest.skip("needs root: to run without capabilities")
    unable = run(both, without="-all")
    assert unable.returncode == 0
    assert unable.stderr == "eBPF programs run in user space: CAP_BPF is missing\n"
    assert unable.stdout == able.stdout
    refused = run(both, "--backend", "kernel", without="-all")
    assert refused.returncode == 1 and "CAP_BPF" in refused.stderr


def test_check_says_where_user_space_would_do(both: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root: to run without capabilities")
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command = [*drop, sys.executable, "-m", "wbpf.cli", "check", str(both)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "CAP_BPF is missing" in done.stdout
    told = "The kernel can't be used here (CAP_BPF is missing); user space can: "
    assert done.stderr == f"\n{told}wbpf run --backend user {both}\n"
