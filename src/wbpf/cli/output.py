"""What commands print: rows as columns, JSON or YAML on standard output, all else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wbpf.errors import ConfigError, WbpfError

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]


class Output(StrEnum):
    """How rows are printed."""

    COLUMNS = "columns"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print.")]
FieldsOption = Annotated[
    str | None, typer.Option(metavar="A,B,…", help="Fields to print, in this order; `all` for all.")
]
SortOption = Annotated[
    str | None, typer.Option(metavar="FIELD", help="Sort by this field; -FIELD backwards.")
]


@dataclass(frozen=True, slots=True)
class Column:
    """A field of rows.

    Args:
        shown: in columns without `--fields`.
        text: makes what columns show of a value.
        style: makes rich's style of a value.
    """

    name: str
    shown: bool = True
    right: bool = False
    text: Callable[[Any], str] = str
    style: Callable[[Any], str] | None = None


def stdout(width: int | None = None) -> Console:
    from rich.console import Console

    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def visible(text: str) -> str:
    """Text from a trace, fit for a terminal: what would control it is written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_rows(
    rows: Iterable[Row],
    columns: Sequence[Column],
    output: Output = Output.COLUMNS,
    fields: str | None = None,
    sort: str | None = None,
) -> None:
    """Print rows.

    Args:
        rows: values by field; for JSON and YAML they must be plain data.
        columns: all fields that rows may have, in their order.
        output: of the command line.
        fields: of the command line.
        sort: of the command line.

    Raises:
        ConfigError: `fields` or `sort` names a field that there isn't.
    """
    chosen = _chosen(columns, output, fields)
    if sort is not None:
        rows = _sorted(rows, _column(columns, sort.removeprefix("-")), backwards=sort.startswith("-"))
    if output is Output.COLUMNS:
        _print_columns(list(rows), chosen)
    else:
        print_data([{column.name: row[column.name] for column in chosen} for row in rows], output)


def print_data(data: Any, output: Output) -> None:
    """Print plain data as JSON or YAML."""
    if output is Output.YAML:
        import yaml

        yaml.safe_dump(data, sys.stdout, sort_keys=False, allow_unicode=True)
    else:
        json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")


def print_error(error: WbpfError) -> None:
    """Tell what failed, why, and what to try next, on standard error."""
    from rich.text import Text

    console = stderr()
    text = Text.assemble(("error: ", "bold red"), visible(error.what))
    if error.why:
        text.append(f": {visible(error.why)}")
    console.print(text, soft_wrap=True)
    if error.hint:
        console.print(Text(f"  try: {visible(error.hint)}", "bold"), soft_wrap=True)


def print_next(*commands: str) -> None:
    """Name the commands that may come next, if a person is there to read them."""
    if not sys.stderr.isatty():
        return
    console = stderr()
    for i, command in enumerate(commands):
        console.print(f"{'next: ' if i == 0 else '      '}{command}", style="dim", soft_wrap=True)


def note(text: str) -> None:
    """Say something that is not output, if a person is there to read it."""
    if sys.stderr.isatty():
        stderr().print(text, soft_wrap=True)


def _column(columns: Sequence[Column], name: str) -> Column:
    for column in columns:
        if column.name == name:
            return column
    names = [column.name for column in columns]
    near = get_close_matches(name, names, n=1)
    raise ConfigError(
        f"no field {name!r}",
        f"did you mean {near[0]}?" if near else "",
        f"choose from {', '.join(names)}",
    )


def _chosen(columns: Sequence[Column], output: Output, fields: str | None) -> list[Column]:
    if fields == "all":
        return list(columns)
    if fields is not None:
        return [_column(columns, name.strip()) for name in fields.split(",")]
    return [column for column in columns if column.shown or output is not Output.COLUMNS]


def _sorted(rows: Iterable[Row], column: Column, backwards: bool) -> list[Row]:
    def key(row: Row) -> tuple[bool, Any]:
        value = row[column.name]
        if isinstance(value, list | dict):
            value = column.text(value)
        return value is None, "" if value is None else value

    return sorted(rows, key=key, reverse=backwards)


def _print_columns(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    texts = [[visible(_cell(column, row[column.name])) for column in columns] for row in rows]
    headers = [column.name.upper().replace("_", " ") for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(headers, *texts, strict=True)]
    console = stdout()
    lines = [(headers, ["bold"] * len(columns))]
    for row, cells in zip(rows, texts, strict=True):
        lines.append((cells, [c.style(row[c.name]) if c.style else "" for c in columns]))
    last = len(columns) - 1
    for cells, styles in lines:
        line = Text(no_wrap=True, overflow="ellipsis", end="")
        for i, (column, cell, style) in enumerate(zip(columns, cells, styles, strict=True)):
            space = " " * (widths[i] - cell_len(cell))
            line.append(f"{space}{cell}" if column.right else f"{cell}{space}", style)
            line.append("" if i == last else "  ")
        line.rstrip()
        if console.is_terminal:
            console.print(line)
        else:
            sys.stdout.write(f"{line.plain}\n")


def _cell(column: Column, value: Any) -> str:
    return "" if value is None else column.text(value)
