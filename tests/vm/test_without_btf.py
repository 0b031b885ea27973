"""Kernels that don't tell their types: one file runs by BTF that it carries, or that is fetched.

All of Debian's kernels from 5.10 on have BTF: it is hidden by a mount over /sys/kernel/btf, where libbpf and
wBPF look for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.integration.programs.conftest import PROGRAMS
from tests.vm.boot import run_in_vm
from tests.vm.btf import kernel_btf
from tests.vm.image import guest_python
from wbpf.bpf.btf import KernelName
from wbpf.bpf.features import have_kernel_btf, have_libbpf, have_privileges
from wbpf.build import Project, build
from wbpf.wasm.sections import BTF, read_sections

pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
pytest.importorskip("wasmtime", reason="needs wasmtime: install wbpf[wasm]")

CHECKS = Path(__file__).with_name("without_btf_in_guest.py")


def archive(folder: Path, btf: Path) -> None:
    """An archive as BTFHub lays it out, with a list of checksums."""
    here = KernelName.of_host()
    inside = folder / here.distribution / here.version / here.machine / f"{btf.name}.tar.xz"
    inside.parent.mkdir(parents=True)
    with tarfile.open(inside, "w:xz") as packed:
        packed.add(btf, btf.name)
    digest = hashlib.sha256(inside.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {inside.relative_to(folder)}\n")


def started(outcome: dict[str, Any], parent: int) -> list[str]:
    """What a process started: a field that only relocations find tells whose child each is."""
    events = [one for one in outcome["events"] if one["what"] == "EXEC" and one["ppid"] == parent]
    return [Path(one["filename"]).name for one in events]


def prepare(folder: Path, btf: Path) -> None:
    """A module that carries reduced BTF and one that does not, and an archive."""
    project, programs = Project.load(PROGRAMS / "bootstrap"), folder / "programs"
    programs.mkdir(parents=True)
    build(project, programs / "plain.wasm")
    build(project, programs / "embedded.wasm", min_btf=[btf])
    assert len(read_sections((programs / "embedded.wasm").read_bytes())[BTF]) < 20_000 < btf.stat().st_size
    archive(folder / "archive", btf)


def judge(output: str, release: str) -> None:
    found = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    assert found["nothing"]["events"] == [] and found["nothing"]["status"] != 0
    assert "needs kernel BTF: there is no /sys/kernel/btf/vmlinux" in found["nothing"]["said"]
    for way in ("embedded", "fetched"):
        assert found[way]["status"] == 0, found[way]["said"]
        names = [name for name in started(found[way], found["own"]) if name != "echo"]
        assert names == ["true"] * 3
    assert found["asked_before"] == []
    assert any(path.endswith(f"/{release}.btf.tar.xz") for path in found["asked"])


def test_btf_is_carried_or_fetched_here(tmp_path: Path) -> None:
    for have in (have_libbpf, have_privileges, have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")
    host = KernelName.of_host()
    btf = tmp_path / f"{host.release}.btf"
    btf.write_bytes(Path("/sys/kernel/btf/vmlinux").read_bytes())
    prepare(tmp_path, btf)
    command = ["unshare", "-m", sys.executable, str(CHECKS), str(tmp_path)]
    environment = {**os.environ, "WBPF_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    judge(done.stdout, host.release)


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("kernel", ["5.10", "6.1"])
def test_btf_is_carried_or_fetched(kernel: str, tmp_path: Path) -> None:
    btf = kernel_btf(kernel)
    prepare(tmp_path, btf)
    files = {
        **guest_python("wasmtime"),
        "tmp/programs": tmp_path / "programs",
        "tmp/archive": tmp_path / "archive",
        "etc/os-release": Path("/etc/os-release"),
        "without_btf_in_guest.py": CHECKS,
    }
    result = run_in_vm(kernel, ["python", "/without_btf_in_guest.py", "/tmp"], files=files, timeout_s=240)
    assert result.status == 0, result.output
    judge(result.output, btf.stem)
