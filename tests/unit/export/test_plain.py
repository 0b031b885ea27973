from __future__ import annotations

import io
import json
from typing import Any

from tests.unit.export.tracing import EPOCH_NS, LATERAL, TRACE_ID, awkward, lateral, plain
from wbpf.export import export
from wbpf.records import Trace


def exported(*traces: Trace) -> list[dict[str, Any]]:
    out = io.BytesIO()
    export(traces, "json", out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_everything_of_a_trace_is_there() -> None:
    (document,) = exported(plain())
    assert list(document) == [
        "format",
        "version",
        "trace_id",
        "status",
        "trigger",
        "group_id",
        "laterals",
        "start_unix_ns",
        "end_unix_ns",
        "concluded_unix_ns",
        "hosts",
        "spans",
        "edges",
        "records",
    ]
    assert (document["format"], document["version"]) == ("wbpf-trace", 1)
    assert document["trigger"] == {
        "name": "slow",
        "value": 12.5,
        "host": "host1",
        "time_unix_ns": EPOCH_NS + 95_000,
    }
    assert document["laterals"] == [LATERAL.hex()]
    assert [(h["name"], h["status"], h["records"]) for h in document["hosts"]] == [
        ("host1", "complete", 10),
        ("host2", "complete", 7),
        ("host3", "complete", 4),
    ]
    assert len(document["records"]) == 21 and len(document["spans"]) == 6


def test_records_name_their_spans_and_the_spans_nest() -> None:
    (document,) = exported(plain())
    spans = {span["span_id"]: span for span in document["spans"]}
    for span in spans.values():
        assert span["parent_span_id"] is None or span["parent_span_id"] in spans
    get = next(r for r in document["records"] if r["fields"].get("object") == "planes/1")
    assert get["name"] == "pool.get" and get["kind"] == "event" and get["level"] == "INFO"
    assert get["fields"] == {"object": "planes/1", "generation": 2, "bytes": 512, "virtual_ns": 900}
    assert spans[get["span_id"]]["name"] == "join"
    assert get["parent_span_id"] == spans[get["span_id"]]["parent_span_id"]
    assert [(e["from_host"], e["to_host"]) for e in document["edges"]] == [
        ("host1", "host2"),
        ("host2", "host3"),
    ]
    assert {e["edge_span_id"] for e in document["edges"]} < set(spans)
    assert len({r["id"] for r in document["records"]}) == 21


def test_values_that_json_lacks_are_text() -> None:
    (document,) = exported(awkward())
    values = next(r for r in document["records"] if r["name"] == "values")
    assert values["fields"] == {
        "n": "NaN",
        "i": "-Infinity",
        "raw": "00ff",
        "big": (1 << 64) - 1,
        "flag": True,
        "text": "é\x1b[31m\n",
    }
    assert document["hosts"][0]["reasons"] == ["process 10 died", "host9 did not answer"]
    hangs = next(s for s in document["spans"] if s["name"] == "hangs")
    assert hangs["end_unix_ns"] is None


def test_each_trace_takes_a_line() -> None:
    assert [d["trace_id"] for d in exported(plain(), lateral())] == [TRACE_ID.hex(), LATERAL.hex()]
