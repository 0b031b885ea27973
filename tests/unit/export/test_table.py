from __future__ import annotations

import csv
import io
import json
import sys

import pytest

from tests.unit.export.tracing import EPOCH_NS, TRACE_ID, awkward, lateral, plain
from wbpf.errors import ExportError
from wbpf.export import FORMATS, export
from wbpf.export.table import COLUMNS


def test_csv_has_a_row_for_every_record() -> None:
    out = io.BytesIO()
    export([plain(), lateral(), awkward()], "csv", out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue().decode(), newline="")))
    traces = [plain(), lateral(), awkward()]
    assert len(rows) == sum(len(trace.records) for trace in traces)
    assert tuple(rows[0]) == COLUMNS
    first = rows[0]
    assert (first["trace_id"], first["kind"], first["name"]) == (TRACE_ID.hex(), "begin", "query")
    assert int(first["time_unix_ns"]) == EPOCH_NS + 1_000
    text = next(json.loads(row["fields"])["text"] for row in rows if row["name"] == "values")
    assert text == "é\x1b[31m\n"


def test_parquet_has_the_same_rows() -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    out = io.BytesIO()
    export([plain(), awkward()], "parquet", out)
    rows = parquet.read_table(out).to_pylist()
    records = [*plain().records, *awkward().records]
    assert [(r["host"], r["time_unix_ns"], r["stamped"]) for r in rows] == [
        (r.host, r.time_unix_ns, r.stamped) for r in records
    ]
    sent = next(r for r in rows if r["edge"])
    assert sent["peer"] == "host2"


def test_parquet_without_pyarrow_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"pip install 'wbpf\[arrow\]'"):
        export([plain()], "parquet", io.BytesIO())


def test_an_empty_export_is_still_in_its_format() -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    for name in FORMATS:
        out = io.BytesIO()
        export([], name, out)
        assert bool(out.getvalue()) == (name != "json")


def test_formats_that_there_are_not() -> None:
    with pytest.raises(ExportError, match="there are json, perfetto, otlp, csv, parquet"):
        export([], "xml", io.BytesIO())
