"""Programs that not every kernel allows, on kernels that do: kprobe and lsm, the same files on each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.programs.conftest import PROGRAMS
from tests.vm.boot import run_in_vm
from tests.vm.image import guest_python
from wbpf.build import Project, build

pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
pytest.importorskip("wasmtime", reason="needs wasmtime: install wbpf[wasm]")

CHECKS = Path(__file__).with_name("programs_in_guest.py")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name in ("kprobe", "lsm"):
        build(Project.load(PROGRAMS / name), folder / f"{name}.wasm")
    return folder


def events_of(output: str, name: str) -> list[dict[str, Any]]:
    line = next(line for line in output.splitlines() if line.startswith(f"{name} ["))
    events: list[dict[str, Any]] = json.loads(line.partition(" ")[2])
    return events


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.12"])
def test_kprobe_and_lsm(kernel: str, modules: Path) -> None:
    command = {"usr/bin/wbpf": Path(sys.executable).with_name("wbpf")}
    files = {
        **guest_python("wasmtime", "typer", "annotated-doc", "shellingham"),
        **command,
        "programs": modules,
        "programs_in_guest.py": CHECKS,
    }
    result = run_in_vm(kernel, ["python", "/programs_in_guest.py"], files=files, timeout_s=180)
    print(result.output)
    assert result.status == 0, result.output
    for name in ("cold", "warm", "kprobe"):  # by `wbpf run`, with Python and without, and by the API
        removed = events_of(result.output, name)
        assert [(one["name"], one["result"]) for one in removed] == [
            *((f"/tmp/file-{number}", 0) for number in range(50)),
            ("/tmp/nothing", -2),
        ], name
    assert "cold: by /usr/bin/python" in result.output and "warm: by /usr/bin/wbpf" in result.output
    folders = events_of(result.output, "lsm")
    assert [(one["name"], one["denied"]) for one in folders] == [
        *((f"folder-{number}", False) for number in range(20)),
        ("precious", True),
    ]
    assert "missing: refused" in result.output and "precious: refused" in result.output
    assert "precious: removed" in result.output  # when the program is gone
