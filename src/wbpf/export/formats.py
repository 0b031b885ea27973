"""The formats that traces are exported in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO

from wbpf.errors import ExportError
from wbpf.export.plain import plain_trace
from wbpf.records import Trace


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Args:
        suffix: of files in it.
        binary: not to be shown on a terminal.
        opened_with: a program, site or command that reads it.
    """

    name: str
    suffix: str
    binary: bool
    help: str
    opened_with: str
    write: Callable[[Iterable[Trace], IO[bytes]], None]


def _write_json(traces: Iterable[Trace], out: IO[bytes]) -> None:
    for trace in traces:
        out.write(json.dumps(plain_trace(trace), ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _write_otlp(traces: Iterable[Trace], out: IO[bytes]) -> None:
    from wbpf.export.otlp import write_otlp

    write_otlp(traces, out)


def _write_perfetto(traces: Iterable[Trace], out: IO[bytes]) -> None:
    from wbpf.export.perfetto import write_perfetto

    write_perfetto(traces, out)


def _write_csv(traces: Iterable[Trace], out: IO[bytes]) -> None:
    from wbpf.export.table import write_csv

    write_csv(traces, out)


def _write_parquet(traces: Iterable[Trace], out: IO[bytes]) -> None:
    from wbpf.export.table import write_parquet

    write_parquet(traces, out)


FORMATS = {
    made.name: made
    for made in (
        Format("json", ".json", False, "everything; one object a line, one line a trace", "jq", _write_json),
        Format(
            "perfetto",
            ".pftrace",
            True,
            "timeline with flows between hosts",
            "https://ui.perfetto.dev",
            _write_perfetto,
        ),
        Format(
            "otlp",
            ".otlp.json",
            False,
            "OpenTelemetry spans, logs and metrics, JSON encoding",
            "an OpenTelemetry collector or Jaeger",
            _write_otlp,
        ),
        Format("csv", ".csv", False, "one row a record", "any spreadsheet", _write_csv),
        Format(
            "parquet", ".parquet", True, "one row a record; needs pyarrow", "pandas or DuckDB", _write_parquet
        ),
    )
}
DEFAULT = "json"


def export(traces: Iterable[Trace], format_name: str, out: IO[bytes]) -> None:
    """Write traces.

    Args:
        traces: which; a trace and its laterals are linked if both are among them.
        format_name: of `FORMATS`.
        out: a binary file.

    Raises:
        ExportError: there is no such format, or what it needs is not installed.
    """
    if format_name not in FORMATS:
        raise ExportError(f"no format {format_name!r}", f"there are {', '.join(FORMATS)}")
    FORMATS[format_name].write(traces, out)
