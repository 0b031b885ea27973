"""Traces as plain data: what the JSON format holds, and the values that every format writes."""

from __future__ import annotations

import math
from typing import Any

from wbpf.records import (
    Edge,
    EdgeEnd,
    Fields,
    HostPart,
    Record,
    RecordId,
    Span,
    Trace,
    Trigger,
    Value,
    span_id_hex,
)

FORMAT = "wbpf-trace"
VERSION = 1


def plain_value(value: Value) -> str | int | float | bool:
    """A field's value as JSON can hold it: bytes in hex, numbers that JSON lacks by their names."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def plain_fields(fields: Fields) -> dict[str, str | int | float | bool]:
    return {name: plain_value(value) for name, value in fields.items()}


def record_id(identity: RecordId) -> str:
    return f"{identity.segment_id:016x}:{identity.chunk}:{identity.uses}:{identity.unit}"


def plain_trace(trace: Trace) -> dict[str, Any]:
    """The whole trace, as docs/export.md describes it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "trace_id": trace.id,
        "status": str(trace.status),
        "trigger": _trigger(trace.trigger) if trace.trigger else None,
        "group_id": trace.group_id.hex(),
        "laterals": [lateral.hex() for lateral in trace.laterals],
        "start_unix_ns": trace.start_unix_ns,
        "end_unix_ns": trace.end_unix_ns,
        "concluded_unix_ns": trace.concluded_unix_ns or None,
        "hosts": [_host(part, trace.shifts_ns.get(part.name, 0)) for part in trace.hosts],
        "spans": [_span(span) for _, span in trace.spans()],
        "edges": [_edge(edge) for edge in trace.edges],
        "records": [_record(record) for record in trace.records],
    }


def _trigger(trigger: Trigger) -> dict[str, Any]:
    return {
        "name": trigger.name,
        "value": plain_value(trigger.value),
        "host": trigger.host,
        "time_unix_ns": trigger.time_unix_ns,
    }


def _host(part: HostPart, shift_ns: int) -> dict[str, Any]:
    return {
        "name": part.name,
        "host_id": f"{part.host_id:016x}",
        "incarnation": f"{part.incarnation:016x}",
        "status": str(part.status),
        "reasons": list(part.reasons),
        "offset_ns": part.offset_ns,
        "uncertainty_ns": part.uncertainty_ns,
        "shift_ns": shift_ns,
        "records": part.records,
        "bytes": part.bytes,
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "span_id": span_id_hex(span.span_id),
        "parent_span_id": _optional_id(span.parent_span_id),
        "name": span.name,
        "kind": str(span.kind),
        "host": span.host,
        "service": span.service,
        "process": span.process,
        "pid": span.pid,
        "tid": span.tid,
        "start_unix_ns": span.start_unix_ns,
        "end_unix_ns": span.end_unix_ns,
        "attributes": plain_fields(span.attributes),
        "error": span.error,
        "peer": span.peer or None,
    }


def _optional_id(span_id: int) -> str | None:
    return span_id_hex(span_id) if span_id else None


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "edge_span_id": span_id_hex(edge.edge_span_id),
        "from_host": edge.from_host or None,
        "to_host": edge.to_host or None,
        "from_span_id": _optional_id(edge.sent.span_id) if edge.sent else None,
        "to_span_id": _optional_id(edge.received.span_id) if edge.received else None,
        "sent_unix_ns": edge.sent.time_unix_ns if edge.sent else None,
        "received_unix_ns": edge.received.time_unix_ns if edge.received else None,
    }


def _record(record: Record) -> dict[str, Any]:
    return {
        "id": record_id(record.identity),
        "time_unix_ns": record.time_unix_ns,
        "stamped": record.stamped,
        "kind": record.kind_name,
        "level": record.severity or None,
        "name": record.name,
        "host": record.host,
        "service": record.service,
        "process": record.process,
        "pid": record.pid,
        "tid": record.tid,
        "span_id": _optional_id(record.span_id),
        "parent_span_id": _optional_id(record.parent_span_id),
        "fields": plain_fields(record.fields),
        "edge": _edge_end(record.edge) if record.edge else None,
        "laterals": [lateral.hex() for lateral in record.laterals],
        "cut": record.cut,
    }


def _edge_end(end: EdgeEnd) -> dict[str, Any]:
    return {
        "direction": end.direction.name.lower(),
        "peer_host_id": f"{end.peer_host_id:016x}" if end.peer_host_id else None,
        "edge_span_id": span_id_hex(end.edge_span_id),
    }
