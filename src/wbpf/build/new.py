"""New projects, from templates."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from wbpf.build.project import Language
from wbpf.build.skeleton_rust import camel
from wbpf.errors import ConfigError

_TEMPLATES = Path(__file__).with_name("templates")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_MAIN = {"c": "main.c", "rust": "src/main.rs", "go": "main.go"}
_SKELETON = {"c": "build/{}.skel.h", "rust": "build/{}.skel.rs", "go": "{}.skel.go"}


def new_project(folder: Path, language: Language) -> list[Path]:
    """Make a project that builds and runs; its name is the folder's. Returns its files.

    Raises:
        ConfigError: the folder has files already, or its name can't be a project's.
    """
    name = folder.name
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} can't be a project's name", "it must be lower-case letters, digits and '-'"
        )
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} can't be made", "there are files in it", "give another name")
    words = {
        "name": name,
        "identifier": name.replace("-", "_"),
        "type": camel(name.replace("-", "_")),
        "main": _MAIN[language],
        "skeleton": f"`{_SKELETON[language].format(name)}`",
    }
    made = []
    for root in (_TEMPLATES / "common", _TEMPLATES / language):
        for source in sorted(path for path in root.rglob("*") if path.is_file()):
            plain = str(source.relative_to(root)).replace("NAME", name).replace("gitignore", ".gitignore")
            target = folder / plain
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(Template(source.read_text()).substitute(words))
            made.append(target)
    return made
