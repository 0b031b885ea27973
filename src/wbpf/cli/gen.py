"""`wbpf gen`: sources generated from eBPF objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbpf.cli.new import LanguageChoice

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Generate sources from eBPF objects.")


@app.callback()
def gen() -> None:
    """Generate sources from eBPF objects."""


@app.command()
def skeleton(
    file: Annotated[Path, typer.Argument(metavar="OBJ", help="An eBPF object: NAME.bpf.o.")],
    lang: Annotated[LanguageChoice, typer.Option(help="Language of the control program.")] = LanguageChoice.C,
    name: Annotated[
        str | None, typer.Option(help="The object's name in the module.  [default: of the file]")
    ] = None,
) -> None:
    """Print a skeleton: names and types for the maps, variables, programs and structures of an object."""
    from wbpf.build.skeleton import generate
    from wbpf.wasm.file import read_file

    typer.echo(generate(name or file.name.partition(".")[0], read_file(file), lang.value), nl=False)
