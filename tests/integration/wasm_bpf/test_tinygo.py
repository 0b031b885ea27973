"""A module as TinyGo builds it for wasm-bpf: one exported function is called for each sample."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.wasm_bpf.conftest import HERE, Build, Running
from tests.integration.wasm_bpf.test_examples import check_fifty_runs, named_true


@pytest.mark.slow
def test_bootstrap(build: Build, run: Callable[..., Running], tmp_path: Path) -> None:
    if shutil.which("tinygo") is None:
        pytest.skip("needs TinyGo: no tinygo on PATH")
    folder = tmp_path / "guest"
    shutil.copytree(HERE / "guests/tinygo", folder)
    shutil.copy(build("bootstrap").with_suffix(".o"), folder / "object.o")
    module = tmp_path / "bootstrap.wasm"
    subprocess.run(["tinygo", "build", "-target", "wasip1", "-o", module, "."], cwd=folder, check=True)
    program = named_true(tmp_path)
    running = run(module, program.name, 50).ready()
    check_fifty_runs(program, running)
