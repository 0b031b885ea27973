"""Programs at kernel functions, and TC without links, on kernels that have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm.boot import run_in_vm
from tests.vm.image import guest_python
from wbpf.build import compile_bpf

pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")

HERE = Path(__file__).parent
SOURCES = HERE.parent / "integration/bpf"
TIMES = 5


@pytest.mark.slow
@pytest.mark.timeout(700)
@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.12"])
def test_programs_at_kernel_functions(kernel: str, tmp_path: Path) -> None:
    files = {**guest_python(), "attach.py": HERE / "attach_in_guest.py"}
    files["traced.o"] = compile_bpf(SOURCES / "traced.bpf.c", tmp_path / "traced.o")
    command = ["sh", "-ec", "ip link set lo up; exec python /attach.py /traced.o"]

    result = run_in_vm(kernel, command, files=files, modules=["sch_ingress", "cls_bpf"], timeout_s=200)

    print(result.output)
    assert result.status == 0
    outcome = json.loads(result.output.strip().splitlines()[-1])
    multi = outcome["traced"].pop("on_multi")
    opens = outcome["traced"].pop("on_open")
    assert outcome["traced"] == dict.fromkeys(
        ["on_kprobe", "on_kretprobe", "on_fentry", "on_fexit", "on_ksyscall"], TIMES
    )
    assert opens == TIMES
    if kernel == "6.12":
        assert multi == TIMES
        assert outcome["tc"] == {"before": 0, "removed": 0, "after": 0}, "the link ended with its process"
    else:
        assert "needs kprobes by the function tracer (CONFIG_FPROBE, kernel 5.18)" in multi
        assert outcome["tc"] == {"before": TIMES, "removed": 1, "after": 0}, "the filter stayed"
