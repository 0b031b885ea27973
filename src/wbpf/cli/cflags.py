"""`wbpf cflags`: compiling C and C++ programs against the library that comes with this package."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

import wbpf
from wbpf.errors import ConfigError


def cflags(
    libs: Annotated[bool, typer.Option("--libs", help="Also what the linker needs.")] = False,
    static: Annotated[
        bool, typer.Option("--static", help="Link libwbpf.a: the program runs without wBPF.")
    ] = False,
) -> None:
    """Print what a C or C++ compiler needs for wbpf/trace.h: cc app.c -o app $(wbpf cflags --libs)."""
    root = _root()
    flags = [f"-I{root / 'include'}"]
    library = root / "lib"
    if static:
        flags += [str(library / "libwbpf.a"), "-pthread"]
    elif libs:
        flags += [f"-L{library}", f"-Wl,-rpath,{library}", "-lwbpf", "-pthread"]
    typer.echo(shlex.join(flags))


def _root() -> Path:
    """Where headers and libraries are: `_c` in the package."""
    for folder in wbpf.__path__:
        root = Path(folder).resolve() / "_c"
        if (root / "include/wbpf/trace.h").is_file():
            return root
    raise ConfigError(
        "the C library is not here",
        f"no _c/include/wbpf/trace.h in {', '.join(wbpf.__path__)}",
        "install the package, from the repository with `make setup`",
    )
