"""What commands print: rows as columns, JSON or YAML on standard output, all else on standard error."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wbpf.errors import AccessError, ConfigError, ExportError, WbpfError

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

_UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

#: How wide columns are is decided by so many rows.
_MEASURED_ROWS = 1000


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
        _print_columns(iter(rows), chosen)
    else:
        _print_list(({column.name: row[column.name] for column in chosen} for row in rows), output)


def _print_list(rows: Iterable[Row], output: Output) -> None:
    """One after another, since there may be more of them than memory."""
    if output is Output.YAML:
        import yaml

        empty = True
        for row in rows:
            empty = False
            yaml.safe_dump([row], sys.stdout, sort_keys=False, allow_unicode=True)
        if empty:
            sys.stdout.write("[]\n")
        return
    separator = "[\n  "
    for row in rows:
        text = json.dumps(row, indent=2, ensure_ascii=False).replace("\n", "\n  ")
        sys.stdout.write(f"{separator}{text}")
        separator = ",\n  "
    sys.stdout.write("[]\n" if separator[0] == "[" else "\n]\n")


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


def ended_by(error: OSError) -> int:
    """The exit status of a command that can't use a file, which is told; 0 if nobody reads its output.

    Raises:
        OSError: it is neither of a named file nor of standard output.
    """
    if error.filename is not None:
        refused = isinstance(error, PermissionError)
        hint = "run as who may use it, or name another" if refused else "check the path"
        unusable = ConfigError(f"{str(error.filename)!r} can't be used", error.strerror or "", hint)
        print_error(unusable)
        return AccessError.exit_code if refused else unusable.exit_code
    if error.errno not in _UNWRITABLE:
        raise error
    # Without this the interpreter complains when it flushes once more at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return 0
    unwritten = ExportError("standard output can't be written", os.strerror(error.errno), "make room for it")
    print_error(unwritten)
    return unwritten.exit_code


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
    """By the values of a field; rows without one come last."""

    def key(row: Row) -> Any:
        value = row[column.name]
        return column.text(value) if isinstance(value, list | dict) else value

    rows = list(rows)
    with_value = [row for row in rows if row[column.name] is not None]
    without = [row for row in rows if row[column.name] is None]
    return sorted(with_value, key=key, reverse=backwards) + without


def _header(column: Column) -> str:
    """The field's name; without its unit where each value is written with one."""
    name = column.name if column.text is str else re.sub(r"(?<!per)_(ns|s|bytes)$", "", column.name)
    return name.upper().replace("_", " ")


def _print_columns(rows: Iterator[Row], columns: Sequence[Column]) -> None:
    from rich.cells import cell_len

    headers = [_header(column) for column in columns]
    first = [(row, _cells(columns, row)) for row in islice(rows, _MEASURED_ROWS)]
    widths = [
        max(map(cell_len, cells)) for cells in zip(headers, *(cells for _, cells in first), strict=True)
    ]

    def pad(cells: Iterable[str]) -> list[str]:
        padded = []
        for column, cell, width in zip(columns, cells, widths, strict=True):
            space = " " * (width - (len(cell) if cell.isascii() else cell_len(cell)))
            padded.append(f"{space}{cell}" if column.right else f"{cell}{space}")
        return padded

    def lines() -> Iterator[tuple[list[str], list[str]]]:
        yield pad(headers), ["bold"] * len(columns)
        for row, cells in chain(first, ((row, _cells(columns, row)) for row in rows)):
            yield pad(cells), [column.style(row[column.name]) if column.style else "" for column in columns]

    if sys.stdout.isatty():
        _print_styled(lines())
    else:
        sys.stdout.writelines("  ".join(cells).rstrip() + "\n" for cells, _ in lines())


def _print_styled(lines: Iterator[tuple[list[str], list[str]]]) -> None:
    from rich.segment import Segment, Segments
    from rich.style import Style

    console = stdout()
    while batch := list(islice(lines, _MEASURED_ROWS)):
        segments = []
        for cells, styles in batch:
            line = [
                Segment(f"{cell}  ", Style.parse(style)) for cell, style in zip(cells, styles, strict=True)
            ]
            segments += Segment.adjust_line_length(line, console.width, pad=False)
            segments.append(Segment.line())
        console.print(Segments(segments), end="")


def _cells(columns: Sequence[Column], row: Row) -> list[str]:
    return [visible(_cell(column, row[column.name])) for column in columns]


def _cell(column: Column, value: Any) -> str:
    return "" if value is None else column.text(value)
