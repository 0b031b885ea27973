"""`wbpf new`: a project to start from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wbpf.cli.output import note, print_next


class LanguageChoice(StrEnum):
    """Of control programs."""

    C = "c"
    RUST = "rust"
    GO = "go"


def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The project's name, or its folder.")],
    lang: Annotated[LanguageChoice, typer.Option(help="Language of the control program.")] = LanguageChoice.C,
) -> None:
    """Make an eBPF application that builds and runs: a program in the kernel, and one that controls it."""
    from wbpf.build.new import new_project

    for path in new_project(name, lang.value):
        note(str(path))
    print_next(f"wbpf build {name}", f"wbpf run {name / 'build' / name.name}.wasm --allow all")
