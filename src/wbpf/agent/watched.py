"""One trace that this host was asked about, and what was found of it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbpf.recorder import Piece
from wbpf.records.layout import BEGIN_PAYLOAD, RECORD_HEADER, STAMPED, Direction, Kind
from wbpf.wire import gather_pb2 as pb

if TYPE_CHECKING:
    from wbpf.agent.segments import Attached

FAULTS_MOST = 4


@dataclass(slots=True)
class Writer:
    """A process's part in a trace: begins minus ends, and which process it is."""

    attached: Attached
    index: int
    generation: int
    pid: int
    open: int = 0
    dead: bool = False


class Watched:
    """One trace, and what was found of it here.

    Args:
        number, session: what the coordinator calls it, and which start of the coordinator.
    """

    __slots__ = (
        "active_s",
        "bytes",
        "changed",
        "crumbs",
        "crumbs_told",
        "delivered_told",
        "faults",
        "fresh",
        "laterals",
        "laterals_told",
        "lost_uncertainty_ns",
        "lost_until_unix_ns",
        "number",
        "origin",
        "records",
        "release_s",
        "restless",
        "session",
        "since_s",
        "start_unix_ns",
        "told",
        "trace_id",
        "undelivered",
        "upto",
        "writers",
    )

    def __init__(self, trace_id: bytes, number: int, session: int, now_s: float) -> None:
        self.trace_id = trace_id
        self.number = number
        self.session = session
        self.since_s = self.active_s = now_s
        self.release_s = 0.0  # when it is let go of; 0: it is wanted
        self.fresh = True  # not searched for yet
        self.told = False
        self.changed = True
        self.delivered_told = True
        self.restless = False
        self.records = self.bytes = 0
        self.upto = 0  # number of the last piece in the delivery
        self.undelivered = 0  # pieces that the collector has not acknowledged
        self.writers: dict[tuple[int, int], Writer] = {}  # by segment and process slot
        self.crumbs: dict[tuple[int, int, int], None] = {}
        self.crumbs_told = 0
        self.laterals: dict[bytes, None] = {}
        self.laterals_told = 0
        self.lost_until_unix_ns = self.lost_uncertainty_ns = 0
        self.start_unix_ns = 0
        self.origin = False
        self.faults: list[str] = []

    def take(self, attached: Attached, piece: Piece, now_s: float) -> None:
        """Count a piece in."""
        self.changed = True
        self.active_s = now_s
        self.records += piece.records
        self.bytes += len(piece.data)
        key = attached.segment_id, piece.process
        writer = self.writers.get(key)
        if writer is None:
            generation, pid, _, _ = attached.process(piece.process, now_s)
            writer = self.writers[key] = Writer(attached, piece.process, generation, pid)
        writer.open += piece.begins - piece.ends
        if piece.cleared:
            self.lose_now(attached)
        for crumb in piece.breadcrumbs:
            self.crumbs[crumb] = None
        for lateral in piece.laterals:
            self.laterals[lateral] = None
        if piece.begins and piece.starts_run:
            self._take_begin(attached, piece.data)

    def _take_begin(self, attached: Attached, data: bytes) -> None:
        """A BEGIN is the first record of its run; it tells when and where the trace began."""
        if len(data) < RECORD_HEADER.size + 8 + BEGIN_PAYLOAD.size:
            return
        _, kind, _, _ = RECORD_HEADER.unpack_from(data)
        if kind & ~STAMPED != Kind.BEGIN:
            return
        at = RECORD_HEADER.size + (8 if kind & STAMPED else 0)
        _, parent, start = BEGIN_PAYLOAD.unpack_from(data, at)
        if start and not parent and kind & STAMPED:
            # The writer calibrates its clock once a second; the stamp is told as `lost_until` is.
            stamp = int.from_bytes(data[RECORD_HEADER.size : at], "little")
            start = min(start, attached.unix_ns(stamp))
        if start and (not self.start_unix_ns or not parent):
            self.start_unix_ns = start
        self.origin = self.origin or not parent

    def lose(self, attached: Attached, lost_ticks: int) -> None:
        """Records written until then may be missing."""
        until = attached.unix_ns(lost_ticks)
        if until > self.lost_until_unix_ns:
            self.lost_until_unix_ns = until
            self.lost_uncertainty_ns = attached.clock_error_ns
            self.changed = True

    def lose_now(self, attached: Attached) -> None:
        """Its records may be gone: what was cleared is recycled without a note of the loss."""
        self.lose(attached, attached.now_ticks())

    def lose_at(self, unix_ns: int) -> None:
        """A segment is gone, with all that was in it."""
        if unix_ns > self.lost_until_unix_ns:
            self.lost_until_unix_ns, self.lost_uncertainty_ns = unix_ns, 0
            self.changed = True

    @property
    def open_spans(self) -> int:
        """Spans begun by processes that live, and not ended."""
        return sum(writer.open for writer in self.writers.values() if writer.open > 0 and not writer.dead)

    def look_for_dead(self, now_s: float) -> None:
        """See which processes died; to be called before a poll, which then reads the last that they wrote."""
        for writer in self.writers.values():
            if writer.open > 0 and not writer.dead:
                generation, _, _, alive = writer.attached.process(writer.index, now_s)
                if not alive or generation != writer.generation:
                    writer.dead = self.changed = True

    def forget_told(self) -> None:
        """Another connection: nothing was told there yet."""
        self.told = False
        self.crumbs_told = self.laterals_told = 0

    def say(self) -> pb.Found:
        """What the coordinator does not know yet."""
        found = pb.Found(
            gather=self.number,
            records=self.records,
            bytes=self.bytes,
            open_spans=self.open_spans + self.restless,
            died=[writer.pid for writer in self.writers.values() if writer.dead and writer.open > 0],
            laterals=b"".join(list(self.laterals)[self.laterals_told :]),
            lost_until_unix_ns=self.lost_until_unix_ns,
            lost_uncertainty_ns=self.lost_uncertainty_ns,
            start_unix_ns=self.start_unix_ns,
            origin=self.origin,
            delivered=not self.undelivered and bool(self.bytes),
            upto=self.upto if self.undelivered else 0,
            faults=self.faults[:FAULTS_MOST],
        )
        _add_crumbs(found, list(self.crumbs)[self.crumbs_told :])
        self.crumbs_told, self.laterals_told = len(self.crumbs), len(self.laterals)
        self.told, self.changed = True, False
        self.delivered_told = not self.undelivered
        return found


def _add_crumbs(found: pb.Found, crumbs: list[tuple[int, int, int]]) -> None:
    """Breadcrumbs by direction and peer: a peer's id is said once."""
    groups: dict[tuple[int, int], list[int]] = {}
    for direction, peer, edge in crumbs:
        groups.setdefault((direction, peer), []).append(edge)
    for (direction, peer), edges in groups.items():
        if direction == Direction.OUT:
            found.sent.add(peer_host_id=peer, edges=edges)
        elif direction == Direction.IN:
            found.received.add(peer_host_id=peer, edges=edges)
