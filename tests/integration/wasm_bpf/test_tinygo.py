"""A module as TinyGo builds it for wasm-bpf: one exported function is called for each sample."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.wasm_bpf.conftest import HERE, Build, Running
from tests.integration.wasm_bpf.test_examples import named_true


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
    pids = set()
    for _ in range(50):
        process = subprocess.Popen([program])
        process.wait()
        pids.add(process.pid)
    seen = Counter(tuple(line.split()) for line in running.end())
    assert seen == Counter((what, program.name, str(pid)) for what in ("EXEC", "EXIT") for pid in pids)
