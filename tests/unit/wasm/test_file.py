"""A file that is not there: what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbpf.errors import ConfigError
from wbpf.wasm.file import read_file


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `demo` with a project that is built, and one `new` with one that is not."""
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "new"):
        (tmp_path / name / "build").mkdir(parents=True)
        (tmp_path / name / "wbpf.toml").write_text(f'name = "{name}"\n')
    for made in ("demo.wasm", "demo.control.wasm", "demo.bpf.o"):
        (tmp_path / "demo/build" / made).write_bytes(b"made")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "given", "hint"),
    [
        ("demo", "demo.wasm", "did you mean build/demo.wasm?"),
        ("demo", "demo", "did you mean build/demo.wasm?"),
        ("demo", "build/dmo.wasm", "did you mean build/demo.wasm?"),
        ("demo", ".", "did you mean build/demo.wasm?"),
        ("demo", "demo.bpf.o", "did you mean build/demo.bpf.o?"),
        (".", "demo", "did you mean demo/build/demo.wasm?"),
        (".", "demo/demo.wasm", "did you mean demo/build/demo.wasm?"),
        (".", "demo.wasm", "did you mean demo/build/demo.wasm?"),
        (".", "new", "build it first: wbpf build new"),
        (".", "new.wasm", "build it first: wbpf build new"),
        (".", "nothing/like/it.wasm", "check the path"),
    ],
)
def test_what_was_meant(
    project: Path, monkeypatch: pytest.MonkeyPatch, folder: str, given: str, hint: str
) -> None:
    monkeypatch.chdir(project / folder)
    with pytest.raises(ConfigError) as raised:
        read_file(given)
    assert raised.value.what == f"{given!r} can't be read"
    assert raised.value.hint == hint


def test_a_file_that_is_there(project: Path) -> None:
    assert read_file("demo/build/demo.wasm") == b"made"
