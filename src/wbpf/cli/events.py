"""Events of a module as they come: columns, JSON (one object a line) or YAML (one list item each)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from wbpf.cli.output import visible
from wbpf.errors import ConfigError
from wbpf.wasm.events import Event
from wbpf.wasm.manifest import EventType, Field

_TEXT_COLUMNS = {"ip4": 15, "mac": 17, "time": 15, "duration": 9, "ip6": 24}
_BAR = 40


class EventPrinter:
    """Prints events on standard output.

    Args:
        kinds: of the manifest.
        output: columns, json or yaml.
        fields: names with commas between them, of those to print; None: all.

    Raises:
        ConfigError: no type has such a field.
    """

    def __init__(self, kinds: Sequence[EventType], output: str, fields: str | None) -> None:
        self._output, self._several = output, len(kinds) > 1
        self._chosen = _chosen(kinds, fields)
        self._columns = {kind.name: _columns(kind, self._chosen) for kind in kinds}
        self._shown: str | None = None
        # of CLOCK_MONOTONIC, to tell the time of day
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    def print(self, event: Event) -> None:
        """Print one."""
        if self._output == "columns":
            self._print_columns(event)
            return
        names = self._chosen or event.fields
        row = {name: event.fields[name] for name in names if name in event.fields}
        if self._several:
            row = {"event": event.type} | row
        if self._output == "json":
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        else:
            import yaml

            yaml.safe_dump([row], sys.stdout, sort_keys=False, allow_unicode=True)
        sys.stdout.flush()

    def _print_columns(self, event: Event) -> None:
        columns = self._columns[event.type]
        if self._shown != event.type:
            self._shown = event.type
            heads = [_pad(_head(field), field, width) for field, width in columns if not _is_list(field)]
            sys.stdout.write("  ".join(heads).rstrip() + "\n")
        cells = [
            _pad(self._cell(field, event.fields[field.name]), field, width)
            for field, width in columns
            if not _is_list(field)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
        for field, _ in columns:
            if field.kind == "log2_histogram":
                sys.stdout.write(_histogram(field, event.fields[field.name]))
            elif field.kind == "array":
                values = " ".join(map(str, event.fields[field.name]))
                sys.stdout.write(f"  {field.name}: {values}\n")
        sys.stdout.flush()

    def _cell(self, field: Field, value: Any) -> str:
        if field.kind == "time":
            ns = value + self._epoch_ns
            return time.strftime("%H:%M:%S", time.localtime(ns // 10**9)) + f".{ns % 10**9 // 1000:06d}"
        if field.kind == "duration":
            return _duration(value)
        if field.kind == "bool":
            return "yes" if value else "no"
        if field.kind == "float":
            return f"{value:.6g}"
        return visible(str(value))


def _chosen(kinds: Sequence[EventType], fields: str | None) -> list[str] | None:
    if fields is None:
        return None
    known = [field.name for kind in kinds for field in kind.fields]
    names = [name.strip() for name in fields.split(",")]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            why = f"did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"no event has a field {name!r}", why, f"choose from {', '.join(known) or 'none'}"
            )
    return names


def _columns(kind: EventType, chosen: list[str] | None) -> list[tuple[Field, int]]:
    fields = {field.name: field for field in kind.fields}
    names = list(fields) if chosen is None else [name for name in chosen if name in fields]
    return [(fields[name], max(len(_head(fields[name])), _width(fields[name]))) for name in names]


def _width(field: Field) -> int:
    if field.kind in _TEXT_COLUMNS:
        return _TEXT_COLUMNS[field.kind]
    if field.kind == "char[]":
        return min(field.bytes - 1, 16)
    return {1: 3, 2: 5, 4: 7}.get(field.bytes, 10)


def _head(field: Field) -> str:
    name = field.name.upper().replace("_", " ")
    return f"{name} {field.unit}" if field.unit and field.kind not in ("time", "duration") else name


def _pad(text: str, field: Field, width: int) -> str:
    is_number = field.kind in ("uint", "int", "uint_be", "float", "duration")
    return text.rjust(width) if is_number else text.ljust(width)


def _is_list(field: Field) -> bool:
    return field.kind in ("array", "log2_histogram")


def _duration(ns: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= size:
            return f"{ns / size:.4g} {unit}"
    return f"{ns} ns"


def _histogram(field: Field, slots: list[int]) -> str:
    """A line for each power of two up to the last that something fell into."""
    used = max((at for at, count in enumerate(slots) if count), default=-1) + 1
    most = max(slots, default=0) or 1
    show: Callable[[int], str] = str
    rows = [(show(1 << at if at else 0), show((2 << at) - 1), slots[at]) for at in range(used)]
    width = max((len(last) for _, last, _ in rows), default=1)
    unit = f" ({field.unit})" if field.unit else ""
    lines = [f"  {field.name}{unit}\n"]
    lines += [
        f"  {first:>{width}} … {last:<{width}}  {count:>8}  {'█' * round(_BAR * count / most)}".rstrip()
        + "\n"
        for first, last, count in rows
    ]
    return "".join(lines)
