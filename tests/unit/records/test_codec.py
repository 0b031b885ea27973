from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.records.building import SegmentWriter, encode
from tests.unit.records.test_schema import schemas_with_values
from wbpf.errors import FormatError
from wbpf.records import RawRecord, Schema, Value, decode_run, iter_run, parse_schemas, schema_id
from wbpf.records.layout import TRIGGER_PAYLOAD, Direction, Kind, Level

TRACE = bytes(range(16))


def written() -> tuple[bytes, dict[int, Schema]]:
    segment = SegmentWriter("host1")
    run = (
        segment.run(TRACE)
        .begin(1, 0, 100, "checkout")
        .attributes("user id:u64", {"id": 7})
        .event("cache.miss key:str count:i64", {"key": "a", "count": -3})
        .span_begin(2, 1, 200, "db.query")
        .log("slow disk", 210)
        .metric("queue.length", 17.5, 220)
        .send(3, "host2", 2, 230)
        .receive(4, "host2", 240)
        .trigger("slow", 12.5, 250, (bytes([1]) * 16, bytes([2]) * 16))
        .span_end(2, 260)
        .resume(1, 265)
        .end(1, 270)
    )
    return bytes(run.data), parse_schemas(segment.descriptors)


def test_every_kind_comes_back() -> None:
    data, schemas = written()
    records = decode_run(data, schemas)
    kinds = "begin attributes event span_begin log metric breadcrumb breadcrumb trigger span_end resume end"
    assert " ".join(Kind(r.kind).name.lower() for r in records) == kinds
    begin, attributes, event, span, log, metric, sent, received, trigger, span_end, resume, end = records
    assert (begin.name, begin.span_id, begin.parent_span_id, begin.ticks) == ("checkout", 1, 0, 100)
    assert begin.start_unix_ns > 0 and span.start_unix_ns == 0
    assert (attributes.name, attributes.fields) == ("user", {"id": 7})
    assert (event.name, event.fields, event.ticks) == ("cache.miss", {"key": "a", "count": -3}, None)
    assert (span.name, span.span_id, span.parent_span_id) == ("db.query", 2, 1)
    assert (log.fields, log.level) == ({"message": "slow disk"}, Level.WARN)
    assert (metric.name, metric.fields) == ("queue.length", {"value": 17.5})
    assert (sent.direction, sent.edge_span_id, sent.parent_span_id) == (Direction.OUT, 3, 2)
    assert (received.direction, received.edge_span_id) == (Direction.IN, 4)
    assert (trigger.name, trigger.fields, len(trigger.laterals)) == ("slow", {"value": 12.5}, 2)
    assert (span_end.span_id, resume.span_id, end.span_id) == (2, 1, 1)
    assert [r.unit for r in records] == sorted({r.unit for r in records})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(schemas_with_values(), st.none() | st.integers(0, (1 << 64) - 1)), max_size=4))
def test_events_come_back(cases: list[tuple[tuple[Schema, dict[str, Value]], int | None]]) -> None:
    schemas = {schema_id(schema.descriptor): schema for (schema, _), _ in cases}
    data = b"".join(
        encode(Kind.EVENT, schema.encode(values), ticks, schema_id(schema.descriptor))
        for (schema, values), ticks in cases
    )
    assert [(r.name, r.fields, r.ticks, r.cut) for r in decode_run(data, schemas)] == [
        (schema.name, values, ticks, False) for (schema, values), ticks in cases
    ]


def try_decode(data: bytes, schemas: dict[int, Schema]) -> list[RawRecord]:
    records = []
    try:
        for record in iter_run(data, schemas):
            records.append(record)  # noqa: PERF402 - those before the error are wanted
    except FormatError as error:
        assert "byte" in error.what
    return records


@given(st.binary(max_size=200))
@example(encode(Kind.BEGIN, bytes(8)))
@example(encode(Kind.TRIGGER, TRIGGER_PAYLOAD.pack(0.0, 0xFFFFFFFF, 0)))
@example(encode(Kind.END)[:4])
@example(bytes([9, 0, 0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
def test_hostile_bytes_end_in_a_format_error(data: bytes) -> None:
    assert len(try_decode(data, {})) <= len(data) // 8


@given(st.data())
def test_damaged_runs_end_in_a_format_error(data: st.DataObject) -> None:
    whole, schemas = written()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    assert len(try_decode(bytes(damaged[:cut]), schemas)) <= len(damaged) // 8


def test_the_records_before_the_damage_are_given() -> None:
    data, schemas = written()
    records = []
    with pytest.raises(FormatError, match="no record at byte 80 of the run"):
        for record in iter_run(data[:80] + bytes(4), schemas):
            records.append(record)  # noqa: PERF402
    assert [r.name for r in records] == ["checkout", "user", "cache.miss"]


def test_a_payload_cut_by_the_writer_is_marked() -> None:
    schema = Schema.parse("read key:str text:str")
    payload = schema.encode({"key": "k", "text": "long text"})[:-3]
    (record,) = decode_run(encode(Kind.EVENT, payload, schema=5), {5: schema})
    assert record.cut and record.fields == {"key": "k", "payload": b"\x09\x00long t"}


def test_unknown_schemas_and_kinds_show_their_bytes() -> None:
    data = encode(Kind.EVENT, b"\1\2", schema=0xABC) + encode(77, b"\3")
    event, other = decode_run(data, {})
    assert (event.name, event.fields) == ("schema-00000abc", {"payload": b"\1\2"})
    assert (other.kind, other.fields) == (77, {"payload": b"\3"})
