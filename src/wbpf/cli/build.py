"""`wbpf build`: one WebAssembly module of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wbpf.cli.output import note, print_next, visible
from wbpf.errors import BuildError

_PATIENCE_S = 5.0
_STILL = "still compiling: the first build for WebAssembly compiles its C library too, and keeps it"


def build(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project.")] = Path(),
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The module.  [default: build/NAME.wasm]"),
    ] = None,
    vmlinux: Annotated[
        str | None,
        typer.Option(
            metavar="BTF",
            help="Make vmlinux.h of this: file or archive.  [default: the running kernel's]",
        ),
    ] = None,
    min_btf: Annotated[
        list[Path] | None,
        typer.Option(
            "--min-btf",
            metavar="PATH",
            help="Embed, reduced, the BTF of a kernel: RELEASE.btf, or a folder of them. Repeatable.",
        ),
    ] = None,
    aot: Annotated[
        str,
        typer.Option(
            metavar="ARCH,…",
            help="Translate the programs ahead for user space: x86_64, aarch64. docs/user-backend.md",
        ),
    ] = "",
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show all that the compilers say, when they refuse a source."),
    ] = False,
) -> None:
    """Build a project: compile its eBPF and its control program into one module for any kernel."""
    from threading import Timer

    from wbpf.build import build as build_project

    timer = Timer(_PATIENCE_S, typer.echo, [_STILL], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        architectures = [one.strip() for one in aot.split(",") if one.strip()]
        result = build_project(folder, out, vmlinux=vmlinux, min_btf=min_btf or (), aot=architectures)
    except BuildError as error:
        if verbose:
            for line in error.log.splitlines():
                typer.echo(visible(line), err=True)
        elif error.log and not error.hint:
            error.hint = "wbpf build -v shows all that the compiler said"
        raise
    finally:
        timer.cancel()
    size = result.path.stat().st_size
    programs = sum(len(each.programs) for each in result.manifest.objects)
    note(f"{result.path}: {size / 1024:.0f} KiB, {programs} eBPF program{'s' * (programs != 1)}")
    print_next(f"wbpf inspect {result.path}", f"wbpf run {result.path} --allow all")
