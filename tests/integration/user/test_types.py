"""One object, and two versions of an application whose structure differs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE
from wbpf.bpf.btf.dwarf import from_dwarf
from wbpf.bpf.user.attach import Traced
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.errors import BpfError


@pytest.fixture(scope="session")
def moved_elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_bpf(HERE / "moved.bpf.c", tmp_path_factory.mktemp("moved") / "moved.bpf.o").read_bytes()


def build(version: int, kind: str, folder: Path) -> Path:
    program = folder / f"version{version}"
    subprocess.run(["gcc", "-O2", "-g", f"-DVERSION={version}", HERE / "moved.c", "-o", program], check=True)
    if kind != "dwarf":
        types = folder / "types.btf"
        types.write_bytes(from_dwarf(program))
        added = ["--add-section", f".BTF={types}"] if kind == "btf" else []
        subprocess.run(["objcopy", "--strip-debug", *added, program], check=True)
    return program


@pytest.mark.parametrize("kind", ["dwarf", "btf"])
@pytest.mark.parametrize("version", [1, 2])
def test_fields_are_found_where_they_moved(
    version: int, kind: str, moved_elf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    program = build(version, kind, tmp_path)
    with (
        Traced.launch([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject(moved_elf, "moved", traced=traced) as probe,
    ):
        probe.load()
        probe.programs["on_order"].attach(f"{program}:place_order")
        traced.go()
        assert traced.process is not None
        traced.process.communicate(b"x", timeout=20)
        seen = [probe.variables[name] for name in ("number", "price_cents", "customer", "name")]
        assert seen == [42, 1999, 7, "Ada"]


def test_without_types_it_is_refused(
    moved_elf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))
    program = build(1, "none", tmp_path)
    with (
        Traced.launch([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as traced,
        UserObject(moved_elf, "moved", traced=traced) as probe,
        pytest.raises(BpfError, match="no such member or value"),
    ):
        probe.load()
