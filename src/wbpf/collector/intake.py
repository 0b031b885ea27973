"""From messages to what the store keeps: everything that a peer claims is checked here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wbpf.errors import FormatError
from wbpf.records import (
    Calibration,
    Conclusion,
    HostInfo,
    HostPart,
    Piece,
    ProcessInfo,
    SegmentInfo,
    Status,
)
from wbpf.records.layout import UNIT_BYTES
from wbpf.wire import PROTOCOL
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed, clip, split_ids, validate_host, validate_name, validate_trace_id

#: What one agent's stream may introduce.
SEGMENTS_MOST = 4096
FACTS_MOST = 65_536
LATERALS_MOST = 4096
HOSTS_MOST = 4096
REASONS_MOST = 64
#: What a piece costs beyond its data while it waits.
OVERHEAD_BYTES = 256
_U63 = (1 << 63) - 1

#: A host's id and the low half of its agent's: an agent counts the pieces that it delivers.
Deliverer = tuple[int, int]

_STATUS: dict[int, Status] = {
    pb.HOST_STATUS_COMPLETE: Status.COMPLETE,
    pb.HOST_STATUS_PARTIAL: Status.PARTIAL,
    pb.HOST_STATUS_UNKNOWN: Status.UNKNOWN,
}


@dataclass(slots=True)
class SegmentNews:
    """What a delivery says of a segment."""

    segment: SegmentInfo
    schemas: dict[int, str] = field(default_factory=dict)
    calibrations: list[Calibration] = field(default_factory=list)
    processes: list[ProcessInfo] = field(default_factory=list)


@dataclass(slots=True)
class Arrived:
    """One message, checked, ready to be stored.

    Args:
        needs: what must be stored before this: pieces of deliverers, up to a number.
        others: hosts that this one stands in for.
        deliverer, upto: with this message that one has delivered its pieces up to that number.
    """

    size_bytes: int
    host: HostInfo | None = None
    news: list[SegmentNews] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    conclusions: list[Conclusion] = field(default_factory=list)
    needs: Mapping[Deliverer, int] = field(default_factory=dict)
    deliverer: Deliverer | None = None
    upto: int = 0
    others: list[HostInfo] = field(default_factory=list)


class Intake:
    """One agent's stream of deliveries.

    Args:
        owners: segment id → host id, of all streams: nobody may write into another host's segments.
        pools: host id → id of the pool that its own agent says it is in. Who is in the same one may speak for
            it: whoever knows that id can read and write all of it anyway.
    """

    def __init__(self, owners: dict[int, int], pools: dict[int, int] | None = None) -> None:
        self._owners = owners
        self._pools = {} if pools is None else pools
        self._pool_id = 0
        self._segments: dict[int, SegmentInfo] = {}
        self._facts = 0
        self._agent = 0
        self.host: HostInfo | None = None

    def take(self, delivery: pb.Delivery) -> Arrived:
        """Check a message.

        Raises:
            Malformed: it is not what an agent of ours sends.
        """
        arrived = Arrived(0, upto=delivery.upto)
        if delivery.HasField("host"):
            arrived.host = self._take_host(delivery.host)
            self._agent = delivery.host.agent
            arrived.upto = max(delivery.upto, delivery.host.before)
        if self.host is None:
            raise Malformed("a delivery from a host that did not say its name")
        arrived.deliverer = self.host.host_id, self._agent
        for facts in delivery.segments:
            owner = self.host
            if facts.HasField("host"):
                owner = self._take_other(facts.host)
                arrived.others.append(owner)
            arrived.news.append(self._take_segment(facts, owner))
        for trace in delivery.traces:
            trace_id = validate_trace_id(trace.trace_id)
            for piece in trace.pieces:
                arrived.pieces.append(self._take_piece(trace_id, piece))
                arrived.size_bytes += len(piece.data) + OVERHEAD_BYTES
        arrived.size_bytes += OVERHEAD_BYTES * (1 + len(delivery.segments))
        return arrived

    def _take_host(self, facts: pb.HostFacts) -> HostInfo:
        if facts.protocol != PROTOCOL:
            raise Malformed(f"protocol {facts.protocol}, where {PROTOCOL} is spoken")
        host_id = validate_host(facts.name, facts.host_id)
        if self.host is not None and self.host.host_id != host_id:
            raise Malformed("a second host on one stream")
        self.host = HostInfo(host_id, facts.incarnation, facts.name)
        self._pool_id = self._pools[host_id] = facts.pool_id
        return self.host

    def _take_other(self, facts: pb.HostFacts) -> HostInfo:
        """A host that this agent stands in for."""
        host_id = validate_host(facts.name, facts.host_id)
        if not self._pool_id or self._pools.get(host_id, self._pool_id) != self._pool_id:
            raise Malformed(f"segments of host {clip(facts.name)!r}, which is in no pool with this one")
        return HostInfo(host_id, facts.incarnation, facts.name)

    def _take_segment(self, facts: pb.SegmentFacts, owner: HostInfo) -> SegmentNews:
        segment = self._segments.get(facts.segment)
        if segment is None:
            if len(self._segments) >= SEGMENTS_MOST or not facts.segment_id:
                raise Malformed("a segment too many, or without an id")
            if self._owners.setdefault(facts.segment_id, owner.host_id) != owner.host_id:
                raise Malformed(f"segment {facts.segment_id:016x}, which is another host's")
            segment = SegmentInfo(
                facts.segment_id,
                owner.host_id,
                owner.incarnation,
                validate_name(facts.service),
                min(facts.ticks_hz, _U63),
                facts.clock_kind,
            )
            self._segments[facts.segment] = segment
        self._facts += len(facts.schemas) + len(facts.processes)
        if self._facts > FACTS_MOST:
            raise Malformed(f"more than {FACTS_MOST} schemas and processes")
        return SegmentNews(
            segment,
            {schema.schema_id: clip(schema.descriptor_text) for schema in facts.schemas},
            [Calibration(c.ticks, c.mono_ns, c.unix_ns, c.error_ns) for c in facts.calibrations],
            [ProcessInfo(p.process, p.pid, clip(p.name)) for p in facts.processes],
        )

    def _take_piece(self, trace_id: bytes, piece: pb.WirePiece) -> Piece:
        segment = self._segments.get(piece.segment)
        if segment is None:
            raise Malformed("a piece of a segment that was not introduced")
        # No chunk is larger than 64 KiB, so neither is a piece of one.
        if 8 * piece.start_unit + len(piece.data) > UNIT_BYTES * 8192:
            raise Malformed(f"a piece of {len(piece.data)} bytes at unit {piece.start_unit}")
        try:
            return Piece(
                trace_id,
                segment.segment_id,
                piece.chunk,
                piece.uses,
                piece.start_unit,
                piece.tid,
                piece.pid,
                piece.starts_run,
                piece.data,
            )
        except FormatError as error:
            raise Malformed(error.what) from error


def take_needs(wire: pb.WireConclusion) -> dict[Deliverer, int]:
    """What must be stored before a conclusion."""
    return {(part.host_id, part.agent): part.upto for part in wire.hosts if part.upto}


def take_conclusion(wire: pb.WireConclusion) -> Conclusion:
    """Check a conclusion.

    Raises:
        Malformed: it is not what a coordinator of ours sends.
    """
    if len(wire.hosts) > HOSTS_MOST:
        raise Malformed(f"a conclusion about {len(wire.hosts)} hosts")
    return Conclusion(
        trace_id=validate_trace_id(wire.trace_id),
        trigger_name=clip(wire.trigger),
        trigger_value=wire.value,
        trigger_host=clip(wire.trigger_host),
        fired_unix_ns=min(wire.fired_unix_ns, _U63),
        group_id=validate_trace_id(wire.group_id) if wire.group_id else b"",
        laterals=split_ids(wire.laterals, LATERALS_MOST),
        hosts=[_take_part(part) for part in wire.hosts],
        concluded_unix_ns=min(wire.concluded_unix_ns, _U63),
    )


def _take_part(part: pb.WireHostPart) -> HostPart:
    if part.status not in _STATUS or len(part.reasons) > REASONS_MOST:
        raise Malformed(f"status {part.status} of host {clip(part.name)!r}")
    return HostPart(
        name=validate_name(part.name),
        host_id=part.host_id,
        incarnation=part.incarnation,
        status=_STATUS[part.status],
        reasons=[clip(reason) for reason in part.reasons],
        offset_ns=part.offset_ns,
        uncertainty_ns=min(part.uncertainty_ns, _U63),
        records=min(part.records, _U63),
        bytes=min(part.bytes, _U63),
    )
