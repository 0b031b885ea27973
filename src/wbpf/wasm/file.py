"""Reading the file that a command is given, and what was meant where there is none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The content of a module or eBPF object.

    Raises:
        ConfigError: it can't be read; the hint names a built file that is likely meant.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - faster than by Path, which start-up is measured with
            return file.read()
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise ConfigError(f"{os.fspath(path)!r} can't be read", why, _hint(os.fspath(path))) from error


def _hint(given: str) -> str:
    from pathlib import Path

    path = Path(given)
    is_project = path.is_dir()
    built = [one for one in _built(path if is_project else path.parent, path.suffix) if one != path]
    if is_project:
        near = built[:1]
    else:
        names = [path.name, f"{path.name}.wasm"]
        near = [one for one in built if one.name in names] or _similar(path, built)
    if near:
        return f"did you mean {near[0]}?"
    for project in (path, path.with_suffix("")):
        if (project / "wbpf.toml").exists():
            return f"build it first: wbpf build {project}"
    return "check the path"


def _built(folder: Path, suffix: str) -> list[Path]:
    """Files in a folder, in what `wbpf build` made there, and in projects within it: modules, or objects."""
    ending = ".o" if suffix == ".o" else ".wasm"
    found = [one for where in ("", "build/", "*/build/") for one in sorted(folder.glob(f"{where}*{ending}"))]
    return [one for one in found if not one.name.endswith(".control.wasm")]


def _similar(path: Path, built: list[Path]) -> list[Path]:
    from difflib import get_close_matches

    stems = {one.name.partition(".")[0]: one for one in reversed(built)}
    return [stems[near] for near in get_close_matches(path.name.partition(".")[0], stems, 1)]
