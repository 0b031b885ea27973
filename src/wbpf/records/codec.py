"""From the bytes of a run to records ("Records" in docs/record-format.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct

from wbpf.errors import FormatError
from wbpf.records.kinds import kind_name
from wbpf.records.layout import (
    BEGIN_PAYLOAD,
    BREADCRUMB_PAYLOAD,
    END_PAYLOAD,
    METRIC_PAYLOAD,
    RECORD_HEADER,
    STAMPED,
    TRIGGER_PAYLOAD,
    UNIT_BYTES,
    Kind,
)
from wbpf.records.schema import Fields, Schema

_TICKS = Struct("<Q")
_SPAN_PAIR = Struct("<QQ")
_TRACE_ID_BYTES = 16


@dataclass(slots=True)
class RawRecord:
    """One record as it was written: ticks not yet turned into time, its span not yet found.

    Args:
        unit: place in the run, in units of 8 bytes.
        kind: of `Kind`, or a number that a later minor version of the format has added.
        ticks: None if the record has no stamp.
        span_id: the span that the record opens, closes or resumes; 0 for other kinds.
        edge_span_id: of a breadcrumb, as `direction` and `peer_host_id`.
        cut: the payload is shorter than its schema says.
    """

    unit: int
    kind: int
    level: int
    ticks: int | None
    name: str
    fields: Fields = field(default_factory=dict)
    span_id: int = 0
    parent_span_id: int = 0
    start_unix_ns: int = 0
    direction: int = 0
    peer_host_id: int = 0
    edge_span_id: int = 0
    laterals: tuple[bytes, ...] = ()
    cut: bool = False

    @property
    def kind_name(self) -> str:
        return kind_name(self.kind)


def decode_run(data: bytes, schemas: Mapping[int, Schema]) -> list[RawRecord]:
    """Decode all records of a run.

    Raises:
        FormatError: the bytes are not records; the text says at which of them.
    """
    return list(iter_run(data, schemas))


def iter_run(data: bytes, schemas: Mapping[int, Schema]) -> Iterator[RawRecord]:
    """Decode the records of a run one after another, so that those before a damaged one can be used.

    Raises:
        FormatError: the bytes from here on are not records.
    """
    position, end = 0, len(data)
    header_bytes = RECORD_HEADER.size
    while position < end:
        if end - position < header_bytes:
            raise _damaged(position, f"{end - position} bytes are left, a record has at least {header_bytes}")
        size, kind, level, schema_id = RECORD_HEADER.unpack_from(data, position)
        payload_at = position + header_bytes
        ticks = None
        stop = position + size
        if kind & STAMPED:
            kind ^= STAMPED
            if stop >= payload_at + _TICKS.size and stop <= end:
                (ticks,) = _TICKS.unpack_from(data, payload_at)
            payload_at += _TICKS.size
        if stop < payload_at or stop > end:
            raise _damaged(position, f"a record of {size} bytes where {end - position} are left")
        yield _decode(position, kind, level, ticks, schema_id, schemas.get(schema_id), data[payload_at:stop])
        position = (stop + UNIT_BYTES - 1) // UNIT_BYTES * UNIT_BYTES


def tick_range(data: bytes) -> tuple[int, int] | None:
    """The least and the greatest stamp in a run, up to where it is damaged; None without any."""
    stamps: list[int] = []
    position = 0
    while position + RECORD_HEADER.size + _TICKS.size <= len(data):
        size, kind, _, _ = RECORD_HEADER.unpack_from(data, position)
        if size < RECORD_HEADER.size:
            break
        if kind & STAMPED:
            stamps += _TICKS.unpack_from(data, position + RECORD_HEADER.size)
        position += (size + UNIT_BYTES - 1) // UNIT_BYTES * UNIT_BYTES
    return (min(stamps), max(stamps)) if stamps else None


def _decode(
    position: int,
    kind: int,
    level: int,
    ticks: int | None,
    schema_id: int,
    schema: Schema | None,
    payload: bytes,
) -> RawRecord:
    name = schema.name if schema is not None else f"schema-{schema_id:08x}" if schema_id else ""
    record = RawRecord(position // UNIT_BYTES, kind, level, ticks, name)
    if kind in (Kind.EVENT, Kind.ATTRIBUTES):
        _decode_fields(record, schema, payload)
        return record
    needed = _LEAST_BYTES.get(kind, 0)
    if len(payload) < needed:
        raise _damaged(position, f"{Kind(kind).name} has {len(payload)} bytes of payload, it takes {needed}")
    if kind in (Kind.BEGIN, Kind.SPAN_BEGIN):
        record.span_id, record.parent_span_id = _SPAN_PAIR.unpack_from(payload)
        if kind == Kind.BEGIN and len(payload) >= BEGIN_PAYLOAD.size:
            record.start_unix_ns = BEGIN_PAYLOAD.unpack_from(payload)[2]
    elif kind in (Kind.END, Kind.SPAN_END, Kind.RESUME):
        (record.span_id,) = END_PAYLOAD.unpack_from(payload)
    elif kind == Kind.BREADCRUMB:
        (record.peer_host_id, record.edge_span_id, record.parent_span_id, record.direction, _) = (
            BREADCRUMB_PAYLOAD.unpack_from(payload)
        )
    elif kind == Kind.LOG:
        record.fields = {"message": payload.decode(errors="replace")}
    elif kind == Kind.METRIC:
        record.fields = {"value": METRIC_PAYLOAD.unpack_from(payload)[0]}
    elif kind == Kind.TRIGGER:
        _decode_trigger(record, position, payload)
    else:
        record.fields = {"payload": payload}
    return record


_LEAST_BYTES: dict[int, int] = {
    Kind.BEGIN: _SPAN_PAIR.size,
    Kind.SPAN_BEGIN: _SPAN_PAIR.size,
    Kind.END: END_PAYLOAD.size,
    Kind.SPAN_END: END_PAYLOAD.size,
    Kind.RESUME: END_PAYLOAD.size,
    Kind.BREADCRUMB: BREADCRUMB_PAYLOAD.size,
    Kind.METRIC: METRIC_PAYLOAD.size,
    Kind.TRIGGER: TRIGGER_PAYLOAD.size,
}


def _decode_fields(record: RawRecord, schema: Schema | None, payload: bytes) -> None:
    if schema is None:
        record.fields = {"payload": payload} if payload else {}
        return
    record.fields, used = schema.decode_prefix(payload)
    record.cut = len(record.fields) != len(schema.fields)
    if used != len(payload):
        # The writer cut the payload inside a field, or it holds more than its schema says: kept as it is.
        record.fields.setdefault("payload", payload[used:])


def _decode_trigger(record: RawRecord, position: int, payload: bytes) -> None:
    value, count, _ = TRIGGER_PAYLOAD.unpack_from(payload)
    ids = payload[TRIGGER_PAYLOAD.size : TRIGGER_PAYLOAD.size + count * _TRACE_ID_BYTES]
    if len(ids) != count * _TRACE_ID_BYTES:
        raise _damaged(position, f"TRIGGER names {count} lateral traces in {len(ids)} bytes")
    record.fields = {"value": value}
    record.laterals = tuple(ids[i : i + _TRACE_ID_BYTES] for i in range(0, len(ids), _TRACE_ID_BYTES))


def _damaged(position: int, why: str) -> FormatError:
    return FormatError(f"no record at byte {position} of the run", why)
