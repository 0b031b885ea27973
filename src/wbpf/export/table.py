"""One row a record: CSV for every tool there is, Parquet for analysis."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import IO, Any

from wbpf.errors import ExportError
from wbpf.export.plain import plain_fields, record_id
from wbpf.records import Record, Trace, span_id_hex

COLUMNS = (
    "trace_id",
    "time_unix_ns",
    "host",
    "service",
    "process",
    "pid",
    "tid",
    "kind",
    "level",
    "name",
    "span_id",
    "parent_span_id",
    "edge",
    "peer",
    "stamped",
    "cut",
    "fields",
    "record_id",
)
_NUMBERS = {"time_unix_ns": "int64", "pid": "uint32", "tid": "uint32"}
_FLAGS = ("stamped", "cut")


def write_csv(traces: Iterable[Trace], out: IO[bytes]) -> None:
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(trace, record) for trace in traces for record in trace.records)
    text.detach()


def write_parquet(traces: Iterable[Trace], out: IO[bytes]) -> None:
    """Write Parquet.

    Raises:
        ExportError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ExportError(
            "the trace can't be written as Parquet", str(error), "pip install 'wbpf[arrow]', or take csv"
        ) from error
    rows = [_row(trace, record) for trace in traces for record in trace.records]
    columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    arrays = [
        pyarrow.array(column, type=getattr(pyarrow, _arrow_type(name))())
        for name, column in zip(COLUMNS, columns, strict=True)
    ]
    parquet.write_table(pyarrow.table(arrays, names=list(COLUMNS)), out)


def _arrow_type(column: str) -> str:
    return "bool_" if column in _FLAGS else _NUMBERS.get(column, "string")


def _row(trace: Trace, record: Record) -> tuple[Any, ...]:
    return (
        trace.id,
        record.time_unix_ns,
        record.host,
        record.service,
        record.process,
        record.pid,
        record.tid,
        record.kind_name,
        record.severity,
        record.name,
        span_id_hex(record.span_id) if record.span_id else "",
        span_id_hex(record.parent_span_id) if record.parent_span_id else "",
        span_id_hex(record.edge.edge_span_id) if record.edge else "",
        str(record.fields.get("peer", "")) if record.edge else "",
        record.stamped,
        record.cut,
        json.dumps(plain_fields(record.fields), ensure_ascii=False),
        record_id(record.identity),
    )
