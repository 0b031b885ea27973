"""What `wbpf check` foresees on other kernels is what loading and attaching does there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm.boot import run_in_vm
from tests.vm.image import guest_python
from wbpf.build import compile_bpf

pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")

HERE = Path(__file__).parents[1] / "integration/check"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kernel", ["5.10", "6.1"])
def test_foreseen_is_what_happens(kernel: str, tmp_path: Path) -> None:
    files = guest_python() | {
        "agreement.py": HERE / "agreement.py",
        "many.o": compile_bpf(HERE / "many.bpf.c", tmp_path / "many.o"),
    }
    result = run_in_vm(kernel, ["python", "/agreement.py", "/many.o"], files=files, timeout_s=300)
    assert result.status == 0, result.output
    rows = json.loads(next(line for line in result.output.splitlines() if line.startswith("[{")))
    assert len(rows) > 40
    assert not [row for row in rows if row["foreseen"] != row["happened"]]
    loaded = {row["program"] for row in rows if row["happened"][0] == "yes"}
    assert {"on_fentry", "on_lsm", "on_tp_btf"} <= loaded
    attached = {row["program"] for row in rows if row["happened"] == ["yes", "yes"]}
    assert {"on_fentry", "on_kprobe", "on_ksyscall"} <= attached
