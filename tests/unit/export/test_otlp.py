from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from tests.unit.export.tracing import EPOCH_NS, LATERAL, TRACE_ID, awkward, lateral, plain
from wbpf.export import export
from wbpf.records import Trace

ID_BYTES = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


def with_base64_ids(node: Any) -> Any:
    """OTLP writes ids in hex where protobuf's own JSON mapping has base64: undo that, check lengths."""
    if isinstance(node, list):
        return [with_base64_ids(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if key in ID_BYTES:
            raw = bytes.fromhex(value)
            assert len(raw) == ID_BYTES[key] or (not raw and key != "traceId"), (key, value)
            assert value == value.lower()
            out[key] = base64.b64encode(raw).decode()
        else:
            out[key] = with_base64_ids(value)
    return out


class Parsed:
    """The exported document, read by OpenTelemetry's own schema."""

    def __init__(self, *traces: Trace) -> None:
        out = io.BytesIO()
        export(traces, "otlp", out)
        self.document = json.loads(out.getvalue())
        assert set(self.document) <= {"resourceSpans", "resourceLogs", "resourceMetrics"}
        self.traces = ParseDict(self._part("resourceSpans"), TracesData())
        self.logs = ParseDict(self._part("resourceLogs"), LogsData())
        self.metrics = ParseDict(self._part("resourceMetrics"), MetricsData())

    def _part(self, key: str) -> dict[str, Any]:
        return {key: with_base64_ids(self.document.get(key, []))}

    def spans(self) -> dict[str, tuple[dict[str, Any], Span]]:
        """Spans by name, with the attributes of their resource."""
        return {
            span.name: (values(resource.resource.attributes), span)
            for resource in self.traces.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


def value(given: AnyValue) -> Any:
    kind = given.WhichOneof("value")
    assert kind is not None
    if kind == "array_value":
        return [value(item) for item in given.array_value.values]
    return getattr(given, kind)


def values(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    out = {pair.key: value(pair.value) for pair in pairs}
    assert len(out) == len(pairs)
    return out


def test_spans_nest_across_hosts_with_the_right_kinds() -> None:
    spans = Parsed(plain()).spans()
    by_id = {span.span_id: span for _, span in spans.values()}
    assert all(span.trace_id == TRACE_ID for span in by_id.values())
    assert {
        name: (
            Span.SpanKind.Name(span.kind),
            by_id[span.parent_span_id].name if span.parent_span_id else None,
        )
        for name, (_, span) in spans.items()
    } == {
        "query": ("SPAN_KIND_INTERNAL", None),
        "plan": ("SPAN_KIND_INTERNAL", "query"),
        "send host2": ("SPAN_KIND_CLIENT", "query"),
        "join": ("SPAN_KIND_SERVER", "send host2"),
        "send host3": ("SPAN_KIND_CLIENT", "join"),
        "fetch": ("SPAN_KIND_SERVER", "send host3"),
    }


def test_resources_are_processes_of_services_on_hosts() -> None:
    resources = {name: resource for name, (resource, _) in Parsed(plain()).spans().items()}
    assert resources["query"] == resources["plan"] == resources["send host2"]
    for name, host, service, pid in (
        ("query", "host1", "front", 10),
        ("join", "host2", "join", 20),
        ("fetch", "host3", "store", 30),
    ):
        assert resources[name]["host.name"] == host
        assert resources[name]["service.name"] == service
        assert resources[name]["process.pid"] == pid
    assert resources["query"]["process.executable.name"] == "prog"


def test_times_attributes_events_and_errors_are_those_of_the_trace() -> None:
    spans = Parsed(plain()).spans()
    query, join = spans["query"][1], spans["join"][1]
    assert (query.start_time_unix_nano - EPOCH_NS, query.end_time_unix_nano - EPOCH_NS) == (1_000, 100_000)
    attributes = values(query.attributes)
    assert attributes["id"] == 7 and attributes["thread.id"] == 11
    assert attributes["wbpf.status"] == "complete"
    assert attributes["wbpf.hosts"] == ["host1: complete", "host2: complete", "host3: complete"]
    assert (attributes["wbpf.trigger.name"], attributes["wbpf.trigger.value"]) == ("slow", 12.5)
    assert [event.name for event in query.events] == ["trigger slow"]
    assert [event.name for event in join.events] == ["pool.get", "pool.get", "exception"]
    assert values(join.events[2].attributes) == {
        "exception.type": "ChecksumError",
        "exception.message": "planes/1",
    }
    assert join.events[1].time_unix_nano == EPOCH_NS + 30_000
    assert (join.status.code, join.status.message) == (2, "ChecksumError: planes/1")
    assert query.status.code == 0


def test_lateral_traces_are_linked_when_they_are_there() -> None:
    alone = Parsed(plain()).spans()["query"][1]
    assert list(alone.links) == []
    assert values(alone.attributes)["wbpf.laterals"] == [LATERAL.hex()]
    both = Parsed(plain(), lateral()).spans()
    (link,) = both["query"][1].links
    assert (link.trace_id, link.span_id) == (LATERAL, both["earlier_write"][1].span_id)


def test_logs_are_log_records() -> None:
    parsed = Parsed(plain())
    ((log,),) = [s.log_records for r in parsed.logs.resource_logs for s in r.scope_logs]
    assert (log.body.string_value, log.severity_number, log.severity_text) == ("large join", 13, "WARN")
    assert log.trace_id == TRACE_ID and log.span_id == parsed.spans()["plan"][1].span_id
    assert log.time_unix_nano == EPOCH_NS + 3_000
    assert values(parsed.logs.resource_logs[0].resource.attributes)["service.name"] == "front"


def test_metrics_are_gauges_with_exemplars() -> None:
    parsed = Parsed(plain())
    ((metric,),) = [s.metrics for r in parsed.metrics.resource_metrics for s in r.scope_metrics]
    (point,) = metric.gauge.data_points
    assert (metric.name, point.as_double, point.time_unix_nano) == ("queue.length", 17.0, EPOCH_NS + 91_000)
    assert point.exemplars[0].trace_id == TRACE_ID
    assert point.exemplars[0].span_id == parsed.spans()["query"][1].span_id
    twice = Parsed(plain(), plain()).metrics.resource_metrics[0].scope_metrics[0].metrics
    assert [len(metric.gauge.data_points) for metric in twice] == [2]


def test_what_is_missing_is_said() -> None:
    parsed = Parsed(awkward())
    spans = parsed.spans()
    root, hangs = spans["root"][1], spans["hangs"][1]
    assert values(root.attributes)["wbpf.status"] == "partial"
    assert values(root.attributes)["wbpf.reasons"] == [
        "host1: process 10 died",
        "host1: host9 did not answer",
    ]
    assert values(hangs.attributes)["wbpf.unfinished"] is True
    assert hangs.end_time_unix_nano == EPOCH_NS + 60_000


def test_values_keep_their_types() -> None:
    (event,) = Parsed(awkward()).spans()["task_b"][1].events
    got = values(event.attributes)
    assert math.isnan(got["n"]) and got["i"] == -math.inf
    assert (got["raw"], got["flag"], got["text"]) == (b"\0\xff", True, "é\x1b[31m\n")
    # OTLP has no unsigned numbers.
    assert got["big"] == "18446744073709551615"


def test_an_event_outside_of_spans_is_a_log_record() -> None:
    parsed = Parsed(awkward())
    logs = [log for r in parsed.logs.resource_logs for s in r.scope_logs for log in s.log_records]
    assert [(log.event_name, log.body.string_value) for log in logs] == [
        ("", "waiting"),
        ("lonely", "lonely"),
    ]
    assert values(logs[1].attributes)["a"] == 1
