"""The example of docs/build.md is one that is read."""

from __future__ import annotations

import re
from pathlib import Path

from wbpf.build.project import Project, params_of
from wbpf.wasm.manifest import FieldKind, Manifest

PAGE = (Path(__file__).parents[3] / "docs/build.md").read_text()


def test_the_whole_wbpf_toml(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "wbpf.toml").write_text(text)
    for name in ("hello.bpf.c", "main.c"):
        (tmp_path / name).write_text("")
    spec = Project.load(tmp_path).spec
    assert [param.name for param in params_of(spec)] == ["min-us", "failed", "protocol"]
    Manifest(spec.name, params=params_of(spec)).validate()


def test_all_kinds_of_fields_are_named() -> None:
    listed = PAGE.partition("Kinds of fields:")[2].partition("\n")[0]
    assert all(re.search(rf"[`\s]{re.escape(kind)}[`\s]", listed) for kind in FieldKind.__args__)  # type: ignore[attr-defined]
