"""The formats that traces are exported in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO

from wbpf.errors import ExportError
from wbpf.export.plain import plain_trace
from wbpf.records import Trace


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Args:
        suffixes: of files in it, the usual one first.
        binary: not to be shown on a terminal.
        links: from a trace to its laterals, if it is told their root spans.
        opened_with: a program, site or command that reads it.
    """

    name: str
    suffixes: tuple[str, ...]
    binary: bool
    links: bool
    help: str
    opened_with: str
    write: Callable[[Iterable[Trace], IO[bytes], Mapping[bytes, int]], None]


def _write_json(traces: Iterable[Trace], out: IO[bytes], roots: Mapping[bytes, int]) -> None:
    for trace in traces:
        out.write(json.dumps(plain_trace(trace), ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _write_otlp(traces: Iterable[Trace], out: IO[bytes], roots: Mapping[bytes, int]) -> None:
    from wbpf.export.otlp import write_otlp

    write_otlp(traces, out, roots)


def _write_perfetto(traces: Iterable[Trace], out: IO[bytes], roots: Mapping[bytes, int]) -> None:
    from wbpf.export.perfetto import write_perfetto

    write_perfetto(traces, out)


def _write_csv(traces: Iterable[Trace], out: IO[bytes], roots: Mapping[bytes, int]) -> None:
    from wbpf.export.table import write_csv

    write_csv(traces, out)


def _write_parquet(traces: Iterable[Trace], out: IO[bytes], roots: Mapping[bytes, int]) -> None:
    from wbpf.export.table import write_parquet

    write_parquet(traces, out)


FORMATS = {
    made.name: made
    for made in (
        Format(
            "json",
            (".json", ".jsonl"),
            binary=False,
            links=False,
            help="everything; a trace is an object on a line of its own",
            opened_with="jq",
            write=_write_json,
        ),
        Format(
            "perfetto",
            (".pftrace", ".perfetto", ".perfetto-trace"),
            binary=True,
            links=False,
            help="a timeline with flows between hosts",
            opened_with="https://ui.perfetto.dev",
            write=_write_perfetto,
        ),
        Format(
            "otlp",
            (".otlp.json", ".otlp"),
            binary=False,
            links=True,
            help="OpenTelemetry's spans, logs and metrics in JSON",
            opened_with="an OpenTelemetry collector or Jaeger",
            write=_write_otlp,
        ),
        Format(
            "csv",
            (".csv",),
            binary=False,
            links=False,
            help="a row for each record",
            opened_with="any spreadsheet",
            write=_write_csv,
        ),
        Format(
            "parquet",
            (".parquet",),
            binary=True,
            links=False,
            help="a row for each record; needs pyarrow",
            opened_with="pandas or DuckDB",
            write=_write_parquet,
        ),
    )
}
DEFAULT = "json"


def export(
    traces: Iterable[Trace], format_name: str, out: IO[bytes], roots: Mapping[bytes, int] | None = None
) -> None:
    """Write traces.

    Args:
        traces: which; in formats that have links, a trace is linked to its laterals among them.
        format_name: of `FORMATS`.
        out: a binary file.
        roots: ids of the root spans of other traces, for links to them.

    Raises:
        ExportError: there is no such format, or what it needs is not installed.
    """
    if format_name not in FORMATS:
        raise ExportError(f"no format {format_name!r}", f"there are {', '.join(FORMATS)}")
    FORMATS[format_name].write(traces, out, roots or {})


def format_of(file_name: str) -> str:
    """The format that a file's name stands for; JSON if it tells nothing."""
    by_suffix = {suffix: made.name for made in FORMATS.values() for suffix in made.suffixes}
    fitting = [suffix for suffix in by_suffix if file_name.lower().endswith(suffix)]
    return by_suffix[max(fitting, key=len)] if fitting else DEFAULT
