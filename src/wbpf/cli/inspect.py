"""`wbpf inspect`: what a module or eBPF object has and needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wbpf.cli.output import Column, Output, OutputOption, print_data, print_next, print_rows, visible
from wbpf.cli.probe_file import ProbeFile

if TYPE_CHECKING:
    from wbpf.wasm.manifest import ObjectNeeds

_PROGRAMS = [
    Column("name"),
    Column("type"),
    Column("section"),
    Column("target"),
    Column("kernel"),
    Column("helpers", text=", ".join),
    Column("kfuncs", shown=False, text=", ".join),
    Column("btf", shown=False, text=", ".join),
]
_MAPS = [
    Column("name"),
    Column("type"),
    Column("key_bytes", right=True),
    Column("value_bytes", right=True),
    Column("entries", right=True),
    Column("flags", right=True),
    Column("kernel"),
]
_PARAMS = [Column("name"), Column("type"), Column("default"), Column("help")]
_EVENTS = [Column("name"), Column("bytes", right=True), Column("fields", text=lambda names: ", ".join(names))]


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .wasm module, or an eBPF object (.bpf.o).")],
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Show what a module or eBPF object has and needs, without running it and without privileges."""
    from wbpf.bpf.btf.embedded import SECTION, embedded_kernels
    from wbpf.build.needs import object_needs

    probe = ProbeFile.open(file)
    manifest = probe.manifest
    known = {needs.name: needs for needs in manifest.objects} if manifest else {}
    objects = [known.get(name) or object_needs(name, content) for name, content in probe.objects.items()]
    kernels = embedded_kernels(probe.sections[SECTION]) if SECTION in probe.sections else []
    data: dict[str, Any] = {"file": str(file), "abi": probe.abi or None}
    if manifest:
        data |= {"name": manifest.name, "version": manifest.version, "description": manifest.description}
        data["params"] = [_plain(one) for one in manifest.params]
        data["capabilities"] = _plain(manifest.capabilities)
        data["events"] = [_plain(one) for one in manifest.events]
    data["btf"] = [f"{machine}/{release}" for machine, release in kernels]
    data["objects"] = [_object(one) for one in objects]
    if output is Output.COLUMNS:
        _print(data)
        print_next(f"wbpf check {file}")
    else:
        print_data(data, output)


def _object(needs: ObjectNeeds) -> dict[str, Any]:
    return {
        "name": needs.name,
        "programs": [_row(one) for one in needs.programs],
        "maps": [_row(one) for one in needs.maps],
    }


def _row(needs: Any) -> dict[str, Any]:
    """A program or map, with the least kernel as its version alone."""
    return {**_plain(needs), "kernel": needs.kernel.version if needs.kernel else None}


def _plain(value: Any) -> Any:
    """Plain data of a manifest's classes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _print(data: dict[str, Any]) -> None:
    kind = f"module, ABI {data['abi']}" if data["abi"] else "eBPF object"
    name = f"{data['name']} {data['version']}: " if "name" in data else ""
    typer.echo(visible(f"{name}{kind}"))
    if data.get("description"):
        typer.echo(visible(data["description"]))
    for one in data["objects"]:
        typer.echo()
        typer.echo(visible(f"object {one['name']}"))
        _table(one["programs"], _PROGRAMS)
        _table(one["maps"], _MAPS)
    if data.get("params"):
        typer.echo("\nparameters")
        _table(data["params"], _PARAMS)
    if data.get("events"):
        typer.echo("\nevents")
        rows = [one | {"fields": [each["name"] for each in one["fields"]]} for one in data["events"]]
        _table(rows, _EVENTS)
    asked = data.get("capabilities")
    if asked:
        typer.echo("\nasks for")
        for key, value in asked.items():
            if value:
                typer.echo(visible(f"  {key}: {', '.join(value) if isinstance(value, list) else value}"))
    if data["btf"]:
        typer.echo()
        typer.echo(visible(f"carries BTF of {', '.join(data['btf'])}"))


def _table(rows: list[dict[str, Any]], columns: list[Column]) -> None:
    if rows:
        print_rows(rows, columns)
