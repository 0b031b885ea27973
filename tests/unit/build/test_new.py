from __future__ import annotations

from pathlib import Path

import pytest

from wbpf.build import Project, new_project
from wbpf.errors import ConfigError


@pytest.mark.parametrize("language", ["c", "rust", "go"])
def test_a_new_project_is_one(tmp_path: Path, language: str) -> None:
    made = new_project(tmp_path / "my-tool", language)  # type: ignore[arg-type]
    assert all("$" not in path.read_text().replace("$ ", "") for path in made)
    project = Project.load(tmp_path / "my-tool")
    assert (project.spec.name, project.language, list(project.objects)) == ("my-tool", language, ["my-tool"])


@pytest.mark.parametrize("name", ["Tool", "a b", "1st", ""])
def test_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"lower-case letters|files in it"):
        new_project(tmp_path / name if name else tmp_path / "..", "c")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool/main.c").write_text("mine")
    with pytest.raises(ConfigError, match="there are files in it"):
        new_project(tmp_path / "tool", "c")
    assert (tmp_path / "tool/main.c").read_text() == "mine"
