"""The benchmark of guest ABIs runs, and the ways that it compares differ as they must."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wbpf.bpf import features


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
    out = tmp_path / "abi.json"
    command = [sys.executable, "-m", "bench.abi", "--quick", "--output", str(out)]
    subprocess.run(command, capture_output=True, text=True, check=True)
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["call/cold"]["value"] > rows["call/native"]["value"]
    assert rows["event/by_fields"]["value"] > rows["event/batch"]["value"]
    assert rows["event/wasm_bpf"]["value"] > rows["event/in_place"]["value"]
