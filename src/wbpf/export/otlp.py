"""OpenTelemetry's protocol, JSON encoding: spans, logs and metrics in one document.

The encoding is that of the OTLP specification: names in lower camel case, ids in hex, numbers of 64 bits as
decimal text, enums as numbers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import IO, Any

from wbpf.export.lanes import span_ends
from wbpf.export.plain import plain_value, record_id
from wbpf.records import (
    Fields,
    HostPart,
    Record,
    Span,
    SpanKind,
    Trace,
    Value,
    span_id_hex,
)
from wbpf.records.layout import Kind

_SPAN_KINDS = {SpanKind.INTERNAL: 1, SpanKind.SERVER: 2, SpanKind.CLIENT: 3}
_STATUS_ERROR = 2
_INT64 = range(-(1 << 63), 1 << 63)

Json = dict[str, Any]


def write_otlp(traces: Iterable[Trace], out: IO[bytes], roots: Mapping[bytes, int]) -> None:
    traces = list(traces)
    # A link needs the span it leads to: a lateral trace's root.
    roots = {**roots, **{trace.trace_id: trace.roots[0].span_id for trace in traces if trace.roots}}
    resources = _Resources()
    for trace in traces:
        _add_trace(resources, trace, roots)
    out.write(json.dumps(resources.document(), ensure_ascii=False, separators=(",", ":")).encode())
    out.write(b"\n")


class _Resources:
    """Spans, logs and metric points by the process of a service that they come from."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, int, str, int], Json] = {}
        self._gauges: dict[tuple[str, int, str, str], list[Json]] = {}
        self._items: dict[str, dict[tuple[str, int, str, int], list[Json]]] = {
            signal: {} for signal in ("spans", "logRecords", "metrics")
        }

    def add(self, signal: str, origin: Span | Record, part: HostPart | None, item: Json) -> None:
        key = origin.host, part.incarnation if part else 0, origin.service, origin.pid
        if key not in self._resources:
            self._resources[key] = _resource(origin, part)
        self._items[signal].setdefault(key, []).append(item)

    def add_point(self, record: Record, part: HostPart | None, point: Json) -> None:
        """Add a point to the gauge of its name; points of one process stand together."""
        name = record.host, record.pid, record.service, record.name
        if name not in self._gauges:
            self._gauges[name] = []
            self.add(
                "metrics", record, part, {"name": record.name, "gauge": {"dataPoints": self._gauges[name]}}
            )
        self._gauges[name].append(point)

    def document(self) -> Json:
        scope = {"name": "wbpf", "version": version("wbpf")}
        return {
            outer: [
                {"resource": self._resources[key], inner: [{"scope": scope, signal: items}]}
                for key, items in self._items[signal].items()
            ]
            for outer, inner, signal in (
                ("resourceSpans", "scopeSpans", "spans"),
                ("resourceLogs", "scopeLogs", "logRecords"),
                ("resourceMetrics", "scopeMetrics", "metrics"),
            )
            if self._items[signal]
        }


def _resource(origin: Span | Record, part: HostPart | None) -> Json:
    attributes: dict[str, Value | list[str]] = {
        "service.name": origin.service,
        "host.name": origin.host,
        "process.pid": origin.pid,
    }
    if origin.process:
        attributes["process.executable.name"] = origin.process
    if part is not None:
        attributes["host.id"] = f"{part.host_id:016x}"
        attributes["wbpf.host.incarnation"] = f"{part.incarnation:016x}"
    return {"attributes": _attributes(attributes)}


def _add_trace(resources: _Resources, trace: Trace, roots: Mapping[bytes, int]) -> None:
    parts = {part.name: part for part in trace.hosts}
    spans = {span.span_id for _, span in trace.spans()}
    ends = span_ends(trace)
    for _, span in trace.spans():
        item = _span(trace, span, ends[span.span_id])
        links = [lateral for record in span.records for lateral in record.laterals if lateral in roots]
        if span is trace.roots[0]:
            item["attributes"] += _attributes(_about(trace))
            links += [lateral for lateral in trace.laterals if lateral in roots and lateral not in links]
        item["links"] = [
            {"traceId": lateral.hex(), "spanId": span_id_hex(roots[lateral])}
            for lateral in dict.fromkeys(links)
        ]
        resources.add("spans", span, parts.get(span.host), item)
    for record in trace.records:
        part = parts.get(record.host)
        if record.kind == Kind.LOG or (record.kind in _EVENTS and record.span_id not in spans):
            resources.add("logRecords", record, part, _log(trace, record))
        elif record.kind == Kind.METRIC:
            resources.add_point(record, part, _point(trace, record))


_EVENTS = (Kind.EVENT, Kind.TRIGGER)


def _about(trace: Trace) -> dict[str, Value | list[str]]:
    """What a reader of the spans must know of their gathering: whether all are there, and why they are."""
    about: dict[str, Value | list[str]] = {
        "wbpf.status": str(trace.status),
        "wbpf.hosts": [f"{part.name}: {part.status}" for part in trace.hosts],
    }
    reasons = [f"{part.name}: {why}" for part in trace.hosts for why in part.reasons]
    if reasons:
        about["wbpf.reasons"] = reasons
    if trace.trigger is not None:
        about["wbpf.trigger.name"] = trace.trigger.name
        about["wbpf.trigger.value"] = trace.trigger.value
        about["wbpf.trigger.host"] = trace.trigger.host
    if trace.laterals:
        about["wbpf.laterals"] = [lateral.hex() for lateral in trace.laterals]
    return about


def _span(trace: Trace, span: Span, end_unix_ns: int) -> Json:
    attributes: dict[str, Value | list[str]] = {"thread.id": span.tid, **span.attributes}
    if span.peer:
        attributes["wbpf.peer.host"] = span.peer
    if span.end_unix_ns is None:
        attributes["wbpf.unfinished"] = True
    item: Json = {
        "traceId": trace.id,
        "spanId": span_id_hex(span.span_id),
        "parentSpanId": span_id_hex(span.parent_span_id) if span.parent_span_id else "",
        "name": span.name or "(beginning not recorded)",
        "kind": _SPAN_KINDS[span.kind],
        "startTimeUnixNano": str(span.start_unix_ns),
        "endTimeUnixNano": str(end_unix_ns),
        "attributes": _attributes(attributes),
        "events": [_event(record) for record in span.records if record.kind in _EVENTS],
    }
    if span.error is not None:
        item["status"] = {"code": _STATUS_ERROR, "message": span.error}
    return item


def _event(record: Record) -> Json:
    return {
        "timeUnixNano": str(record.time_unix_ns),
        "name": _event_name(record),
        "attributes": _attributes(_event_fields(record)),
    }


def _event_name(record: Record) -> str:
    return f"trigger {record.name}" if record.kind == Kind.TRIGGER else record.name


def _event_fields(record: Record) -> Fields:
    if record.name != "exception":
        return record.fields
    # OpenTelemetry's names for what an exception says.
    return {f"exception.{key}" if key in ("type", "message") else key: v for key, v in record.fields.items()}


def _log(trace: Trace, record: Record) -> Json:
    body = record.fields.get("message", "") if record.kind == Kind.LOG else _event_name(record)
    item: Json = {
        "timeUnixNano": str(record.time_unix_ns),
        "observedTimeUnixNano": str(record.time_unix_ns),
        "severityNumber": record.level if record.severity else 0,
        "severityText": record.severity,
        "body": _any_value(body),
        "attributes": _attributes({"thread.id": record.tid, "wbpf.record": record_id(record.identity)}),
        "traceId": trace.id,
        "spanId": span_id_hex(record.span_id) if record.span_id else "",
    }
    if record.kind != Kind.LOG:
        item["eventName"] = _event_name(record)
        item["attributes"] += _attributes(record.fields)
    return item


def _point(trace: Trace, record: Record) -> Json:
    point = {"timeUnixNano": str(record.time_unix_ns), "asDouble": plain_value(record.fields["value"])}
    exemplar = {**point, "traceId": trace.id, "spanId": span_id_hex(record.span_id) if record.span_id else ""}
    return {**point, "exemplars": [exemplar]}


def _attributes(fields: Mapping[str, Value | list[str]]) -> list[Json]:
    return [{"key": key, "value": _any_value(value)} for key, value in fields.items()]


def _any_value(value: Value | list[str]) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        # OTLP has no unsigned numbers: those that an int64 can't hold are written as text.
        return {"intValue": str(value)} if value in _INT64 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": plain_value(value)}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    return {"stringValue": value}
