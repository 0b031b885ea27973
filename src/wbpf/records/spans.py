"""The tree of a trace's spans, from its records in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wbpf.records.layout import Direction, Kind
from wbpf.records.trace import Edge, Record, Span, SpanKind

#: Name of the event that an exception leaves when it leaves a span.
EXCEPTION = "exception"


def match_edges(records: Iterable[Record], host_names: Mapping[int, str]) -> list[Edge]:
    """Pair what was sent with what was received, in the order of sending."""
    ends: dict[int, list[Record]] = {}
    begins: dict[int, Record] = {}
    for record in records:
        if record.edge is not None:
            ends.setdefault(record.edge.edge_span_id, []).append(record)
        elif record.kind == Kind.BEGIN:
            begins.setdefault(record.parent_span_id, record)
    edges: list[Edge] = []
    for edge_id, crumbs in ends.items():
        sent = next((r for r in crumbs if _direction(r) == Direction.OUT), None)
        arrivals: list[Record | None] = [r for r in crumbs if _direction(r) == Direction.IN]
        if not arrivals:
            arrivals = [begins.get(edge_id)]
        edges.extend(
            Edge(
                edge_id,
                sent.host if sent else _peer(received, host_names),
                received.host if received else _peer(sent, host_names),
                sent,
                received,
            )
            for received in arrivals
        )
    return edges


def _direction(record: Record) -> int:
    return record.edge.direction if record.edge else 0


def _peer(record: Record | None, host_names: Mapping[int, str]) -> str:
    return host_names.get(record.edge.peer_host_id, "") if record and record.edge else ""


def build_spans(records: Iterable[Record], edges: Iterable[Edge]) -> list[Span]:
    """Make the spans and hang them below their parents.

    Returns:
        The spans without a parent, by the time they start.
    """
    spans: dict[int, Span] = {}
    for record in records:
        _add(spans, record)
    for edge in edges:
        _add_edge(spans, edge)
    return _tree(spans)


def _add(spans: dict[int, Span], record: Record) -> None:
    if not record.span_id:
        return
    span = spans.get(record.span_id)
    if span is None:
        begins = record.kind in (Kind.BEGIN, Kind.SPAN_BEGIN)
        span = spans[record.span_id] = Span(
            span_id=record.span_id,
            parent_span_id=record.parent_span_id,
            name=record.name if begins else "",
            kind=SpanKind.INTERNAL,
            host=record.host,
            service=record.service,
            process=record.process,
            pid=record.pid,
            tid=record.tid,
            start_unix_ns=record.time_unix_ns,
        )
    span.records.append(record)
    if record.kind in (Kind.END, Kind.SPAN_END):
        span.end_unix_ns = record.time_unix_ns
    elif record.kind == Kind.ATTRIBUTES:
        span.attributes.update(record.fields)
    elif record.kind == Kind.EVENT and record.name == EXCEPTION:
        span.error = ": ".join(str(value) for value in record.fields.values())


def _add_edge(spans: dict[int, Span], edge: Edge) -> None:
    receiver = spans.get(edge.received.span_id) if edge.received else None
    if receiver is not None and receiver.parent_span_id == edge.edge_span_id:
        receiver.kind = SpanKind.SERVER
        receiver.peer = edge.from_host
    if edge.sent is None or edge.edge_span_id in spans:
        return
    sender = spans.get(edge.sent.span_id)
    sent_ns = edge.sent.time_unix_ns
    ends = [span.end_unix_ns for span in (sender, receiver) if span and span.end_unix_ns is not None]
    spans[edge.edge_span_id] = Span(
        span_id=edge.edge_span_id,
        parent_span_id=edge.sent.span_id,
        name=f"send {edge.to_host}" if edge.to_host else "send",
        kind=SpanKind.CLIENT,
        host=edge.sent.host,
        service=edge.sent.service,
        process=edge.sent.process,
        pid=edge.sent.pid,
        tid=edge.sent.tid,
        start_unix_ns=sent_ns,
        end_unix_ns=max(sent_ns, min(ends)) if ends and receiver is not None else None,
        peer=edge.to_host,
    )


def _tree(spans: Mapping[int, Span]) -> list[Span]:
    roots = []
    for span in spans.values():
        parent = spans.get(span.parent_span_id)
        if parent is None:
            roots.append(span)
        else:
            parent.children.append(span)
    reached = {below.span_id for root in roots for _, below in root.walk()}
    for span in spans.values():
        if span.span_id not in reached:  # parents in a circle: cut it here
            spans[span.parent_span_id].children.remove(span)
            roots.append(span)
            reached.update(below.span_id for _, below in span.walk())
    for span in spans.values():
        span.children.sort(key=lambda child: child.start_unix_ns)
    roots.sort(key=lambda root: root.start_unix_ns)
    return roots
