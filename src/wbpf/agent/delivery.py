"""What was found, on its way to the collector: cut into messages, sent again until it is acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

from wbpf.agent.segments import Attached
from wbpf.agent.watched import Watched
from wbpf.recorder import Piece
from wbpf.records.layout import RECORD_HEADER, STAMPED
from wbpf.wire import PROTOCOL
from wbpf.wire import gather_pb2 as pb

MESSAGE_BYTES = 256 << 10
#: Messages sent and not acknowledged: enough to keep the collector busy, not more, so that the next is large.
MESSAGES_OPEN = 8


class Parcel(NamedTuple):
    """A piece, with what it takes to send it."""

    watched: Watched
    attached: Attached
    piece: Piece
    pid: int
    number: int


class _Facts:
    """What a connection was told of one segment."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.schemas = 0
        self.calibrations: set[int] = set()
        self.processes: set[tuple[int, int]] = set()


class Delivery:
    """The queue to the collector.

    Args:
        host: name, id and incarnation.
        delivered: called with a trace of which everything was acknowledged.
    """

    def __init__(self, host: pb.HostFacts, delivered: Callable[[Watched], None]) -> None:
        self._host = host
        self._delivered = delivered
        self._waiting: deque[Parcel] = deque()
        self._open: deque[list[Parcel]] = deque()
        self._facts: dict[int, _Facts] = {}
        self._introduced = False
        self._numbered = 0
        self._done_upto = 0
        self.acknowledged = 0
        self.undelivered_bytes = 0

    def put(self, watched: Watched, attached: Attached, piece: Piece, pid: int) -> None:
        self._numbered += 1
        watched.undelivered += 1
        watched.upto = self._numbered
        self.undelivered_bytes += len(piece.data)
        self._waiting.append(Parcel(watched, attached, piece, pid, self._numbered))

    def connected(self) -> None:
        """A new stream: nothing was said there yet, and what was not acknowledged comes first."""
        for parcels in reversed(self._open):
            self._waiting.extendleft(reversed(parcels))
        self._open.clear()
        self._facts.clear()
        self._introduced = False
        self.acknowledged = 0

    def next_message(self, now_s: float, most_bytes: int = MESSAGE_BYTES) -> pb.Delivery | None:
        """Make a message of what waits; None if nothing does, or enough is under way.

        Who has delivered before says first what need not be sent again: conclusions may wait for it.
        """
        silent = not self._done_upto and not self._host.pool_id  # it need not say who it is yet
        nothing = not self._waiting and (self._introduced or silent)
        if nothing or len(self._open) >= MESSAGES_OPEN:
            return None
        parcels: list[Parcel] = []
        size = 0
        while self._waiting and (not parcels or size + len(self._waiting[0].piece.data) <= most_bytes):
            parcel = self._waiting.popleft()
            parcels.append(parcel)
            size += len(parcel.piece.data) + 48
        self._open.append(parcels)
        message = pb.Delivery()
        if not self._introduced:
            self._introduced = True
            message.host.CopyFrom(self._host)
            message.host.protocol = PROTOCOL
            message.host.before = self._done_upto
        message.upto = parcels[-1].number if parcels else 0
        told: dict[int, pb.SegmentFacts] = {}
        for trace_id, group in groupby(parcels, key=lambda parcel: parcel.piece.trace_id):
            trace = message.traces.add(trace_id=trace_id)
            for _, attached, piece, pid, _ in group:
                number = self._tell(message, told, attached, piece, pid, now_s)
                trace.pieces.add(
                    segment=number,
                    chunk=piece.chunk,
                    uses=piece.uses,
                    start_unit=piece.start_unit,
                    tid=piece.tid,
                    pid=pid,
                    starts_run=piece.starts_run,
                    data=piece.data,
                )
        return message

    def _tell(
        self,
        message: pb.Delivery,
        told: dict[int, pb.SegmentFacts],
        attached: Attached,
        piece: Piece,
        pid: int,
        now_s: float,
    ) -> int:
        """Add what it takes to read the piece and was not told; returns the segment's number."""
        facts = self._facts.get(attached.segment_id)

        def news() -> pb.SegmentFacts:
            assert facts is not None
            if facts.number not in told:
                told[facts.number] = message.segments.add(segment=facts.number)
            return told[facts.number]

        if facts is None:
            facts = self._facts[attached.segment_id] = _Facts(len(self._facts) + 1)
            segment = attached.segment
            one = news()
            one.segment_id, one.service = segment.segment_id, segment.service
            one.ticks_hz, one.clock_kind = segment.ticks_hz, segment.clock_kind
            if attached.is_recovered:
                one.host.name, one.host.host_id = segment.host, segment.host_id
                one.host.incarnation = segment.incarnation
        attached.read_schemas()
        if facts.schemas < len(attached.descriptors):
            one = news()
            for schema_id, text in list(attached.descriptors.items())[facts.schemas :]:
                one.schemas.add(schema_id=schema_id, descriptor_text=text)
            facts.schemas = len(attached.descriptors)
        for reading in attached.calibrations_around(first_ticks(piece.data)):
            if reading.ticks not in facts.calibrations:
                facts.calibrations.add(reading.ticks)
                news().calibrations.add(
                    ticks=reading.ticks,
                    mono_ns=reading.mono_ns,
                    unix_ns=reading.unix_ns,
                    error_ns=reading.error_ns,
                )
        if (piece.process, pid) not in facts.processes:
            facts.processes.add((piece.process, pid))
            name = attached.process(piece.process, now_s)[2]
            news().processes.add(process=piece.process, pid=pid, name=name)
        return facts.number

    def acknowledge(self, sequence: int) -> None:
        """The collector has all messages of this stream up to this one."""
        while self.acknowledged < sequence and self._open:
            self.acknowledged += 1
            self._done(self._open.popleft())

    def give_up_first(self, why: str) -> int:
        """The collector refuses the first message whenever it comes; returns how many pieces it had."""
        if not self._open:
            return 0
        parcels = self._open.popleft()
        for parcel in parcels:
            watched = parcel.watched
            if why not in watched.faults:
                watched.faults.append(why)
                watched.changed = True
        self._done(parcels)
        return len(parcels)

    def _done(self, parcels: list[Parcel]) -> None:
        for watched, _, piece, _, number in parcels:
            self._done_upto = number
            watched.undelivered -= 1
            self.undelivered_bytes -= len(piece.data)
            if not watched.undelivered:
                self._delivered(watched)

    def __len__(self) -> int:
        return len(self._waiting) + sum(len(parcels) for parcels in self._open)


def first_ticks(data: bytes) -> int:
    """The time stamp of a piece's first record; of its second if that has none; else as late as can be."""
    at = 0
    for _ in range(2):
        if at + RECORD_HEADER.size + 8 > len(data):
            break
        size, kind, _, _ = RECORD_HEADER.unpack_from(data, at)
        if kind & STAMPED:
            return int.from_bytes(data[at + RECORD_HEADER.size : at + RECORD_HEADER.size + 8], "little")
        at += (max(size, RECORD_HEADER.size) + 7) & ~7
    return (1 << 64) - 1
