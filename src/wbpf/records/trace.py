"""A gathered trace, decoded: records of all hosts on one clock, and the tree of their spans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from wbpf.records.conclusion import HostPart, Status
from wbpf.records.context import trace_id_hex
from wbpf.records.kinds import kind_name, severity
from wbpf.records.layout import Direction
from wbpf.records.schema import Fields


class SpanKind(StrEnum):
    """A span's place between hosts, in OpenTelemetry's words."""

    INTERNAL = "internal"
    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class EdgeEnd:
    """One end of an edge: where the trace left this host or came to it.

    Args:
        peer_host_id: the other host; 0 if not known.
        edge_span_id: the span id that crossed; the same on both hosts.
    """

    direction: Direction
    peer_host_id: int
    edge_span_id: int


@dataclass(frozen=True, slots=True)
class RecordId:
    """Names a record for good."""

    segment_id: int
    chunk: int
    uses: int
    unit: int


@dataclass(slots=True)
class Record:
    """One record of a trace.

    Args:
        kind: of `Kind`, or a number that a later minor version of the format has added.
        time_unix_ns: on the coordinator's clock; never before a record that caused this one.
        stamped: False if the time was put between those of the neighbours.
        span_id: the span it belongs to; 0 if none is known.
        parent_span_id: that span's parent; 0 if there is none.
        process: name of the program; empty if not known.
        laterals: of a trigger.
        cut: the payload was too long to be written as a whole.
    """

    kind: int
    level: int
    name: str
    time_unix_ns: int
    stamped: bool
    span_id: int
    parent_span_id: int
    fields: Fields
    host: str
    service: str
    process: str
    pid: int
    tid: int
    edge: EdgeEnd | None
    laterals: tuple[bytes, ...]
    cut: bool
    identity: RecordId

    @property
    def kind_name(self) -> str:
        return kind_name(self.kind)

    @property
    def severity(self) -> str:
        """OpenTelemetry's short name of its level; empty for kinds that are always written."""
        return severity(self.kind, self.level)


@dataclass(slots=True)
class Span:
    """A stretch of work.

    Args:
        name: empty if its beginning is not in the trace.
        kind: `client` for an edge: from where the trace left a host until the receiver was done, at most
            until the sender's span ended.
        parent_span_id: as recorded; the parent need not be in the trace.
        end_unix_ns: None if its end is not in the trace.
        error: what the exception that left it said; None without one.
        peer: of a `client` span the receiver, of a `server` span the sender; empty if not known.
    """

    span_id: int
    parent_span_id: int
    name: str
    kind: SpanKind
    host: str
    service: str
    process: str
    pid: int
    tid: int
    start_unix_ns: int
    end_unix_ns: int | None = None
    attributes: Fields = field(default_factory=dict)
    error: str | None = None
    peer: str = ""
    children: list[Span] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """This span and all below it, parents first, with their depths."""
        stack = [(depth, self)]
        while stack:
            at, span = stack.pop()
            yield at, span
            stack.extend((at + 1, child) for child in reversed(span.children))


@dataclass(frozen=True, slots=True)
class Edge:
    """The trace went from one host to another.

    Args:
        sent: the breadcrumb of the sender; None if it is not in the trace.
        received: the breadcrumb, or the begin, of the receiver; None if it is not in the trace.
        from_host, to_host: empty if not known.
    """

    edge_span_id: int
    from_host: str
    to_host: str
    sent: Record | None
    received: Record | None


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why the trace was gathered."""

    name: str
    value: float
    host: str
    time_unix_ns: int


@dataclass(slots=True)
class Trace:
    """A gathered trace.

    Args:
        trigger: None if the gather has not concluded and no trigger is in the records.
        group_id: the same for all traces gathered by one trigger; empty if this one was alone.
        status: the worst of the hosts' statuses.
        records: of all hosts, by time; a receiver's never before its sender's breadcrumb.
        roots: the spans without a parent in the trace; the others hang below them.
        shifts_ns: hosts whose clocks were moved so that causes come first. Beyond its uncertainty only if
            nothing less would do: the offset was worse than was thought.
        concluded_unix_ns: 0 if the gather has not concluded.
    """

    trace_id: bytes
    trigger: Trigger | None
    group_id: bytes
    laterals: tuple[bytes, ...]
    status: Status
    hosts: list[HostPart]
    records: list[Record]
    roots: list[Span]
    edges: list[Edge]
    shifts_ns: dict[str, int]
    concluded_unix_ns: int

    @property
    def id(self) -> str:
        return trace_id_hex(self.trace_id)

    @property
    def start_unix_ns(self) -> int:
        return self.records[0].time_unix_ns if self.records else 0

    @property
    def end_unix_ns(self) -> int:
        return self.records[-1].time_unix_ns if self.records else 0

    def spans(self) -> Iterator[tuple[int, Span]]:
        """All spans, parents first, with their depths."""
        for root in self.roots:
            yield from root.walk()
