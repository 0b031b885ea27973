"""One module, and two versions of an application whose structure differs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE
from wbpf.bpf.btf.dwarf import from_dwarf
from wbpf.build import Project, build

RUN = (sys.executable, "-m", "wbpf.cli", "run", "--backend", "user", "--allow", "all", "-o", "json")


@pytest.fixture(scope="session")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(Project.load(HERE / "moved"), tmp_path_factory.mktemp("moved") / "moved.wasm").path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBPF_DIR", str(tmp_path / "wbpf"))


def version(number: int, kind: str, folder: Path) -> Path:
    """The application, with its types as DWARF, as BTF or without."""
    program = folder / "moved"
    subprocess.run(["gcc", "-O2", "-g", f"-DVERSION={number}", HERE / "moved.c", "-o", program], check=True)
    if kind != "dwarf":
        types = folder / "types.btf"
        types.write_bytes(from_dwarf(program))
        added = ["--add-section", f".BTF={types}"] if kind == "btf" else []
        subprocess.run(["objcopy", "--strip-debug", *added, program], check=True)
    return program


def run(moved: Path, *arguments: str | Path, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, moved, *arguments], input=input, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("kind", ["dwarf", "btf"])
@pytest.mark.parametrize("number", [1, 2])
def test_fields_are_found_where_they_moved(number: int, kind: str, moved: Path, tmp_path: Path) -> None:
    done = run(moved, "--", version(number, kind, tmp_path), input="xx")
    assert done.returncode == 0, done.stderr
    events = [line for line in done.stdout.splitlines() if line.startswith("{")]
    seen = [
        {name: json.loads(line)[name] for name in ("number", "price_cents", "customer", "name")}
        for line in events
    ]
    assert seen == 2 * [{"number": 42, "price_cents": 1999, "customer": 7, "name": "Ada"}]


def test_types_of_a_process_that_runs(moved: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [version(2, "dwarf", tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as application:
        assert application.stdin is not None and application.stdout is not None
        assert application.stdout.readline() == "ready\n"
        with subprocess.Popen(
            [*RUN, "-v", moved, "--pid", str(application.pid)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as tracer:
            assert tracer.stderr is not None and tracer.stdout is not None
            assert tracer.stderr.readline() == "info: attached\n"
            application.stdin.write("x")
            application.stdin.close()
            assert json.loads(tracer.stdout.readline())["number"] == 42
            tracer.terminate()


def test_without_types_it_is_refused(moved: Path, tmp_path: Path) -> None:
    done = run(moved, "--", version(1, "none", tmp_path), input="")
    assert done.returncode != 0
    assert "no such member or value" in done.stderr
