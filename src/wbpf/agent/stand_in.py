"""Traces of hosts that are gone, as a survivor finds them in the pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wbpf.agent.segments import Attached
from wbpf.agent.watched import Watched
from wbpf.recorder import Piece
from wbpf.wire import gather_pb2 as pb


@dataclass(frozen=True)
class Findings:
    """What one search found in the regions of one host.

    Args:
        recovered: of the host as a whole.
        pieces: by trace, and where each was.
        lost_ticks: of each segment: until when something is missing in it.
    """

    recovered: pb.Recovered
    pieces: Mapping[bytes, list[tuple[Attached, Piece]]] = field(default_factory=dict)
    lost_ticks: list[tuple[Attached, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class StandIn(Watched):
    """One trace on a host that is gone: looked for once, told, and told again when it is delivered.

    Args:
        number, session: as of a trace on this host.
        found: by the search.
    """

    __slots__ = ("_pieces", "recovered")

    def __init__(self, trace_id: bytes, number: int, session: int, now_s: float, found: Findings) -> None:
        super().__init__(trace_id, number, session, now_s)
        self.recovered = found.recovered
        self.faults.extend(found.faults)
        self._pieces = found.pieces.get(trace_id, [])
        for attached, lost_ticks in found.lost_ticks:
            if lost_ticks:
                self.lose(attached, lost_ticks)

    def pieces(self, now_s: float) -> Iterator[tuple[Attached, Piece, int]]:
        """Count the pieces in, and hand them out with the pids of their writers."""
        for attached, piece in self._pieces:
            self.take(attached, piece, now_s)
            yield attached, piece, attached.process(piece.process, now_s)[1]
        self._pieces = []
        self.look_for_dead(now_s)

    def say(self) -> pb.Found:
        found = super().say()
        # Numbers of pieces are this host's: the coordinator waits until we say that they were delivered.
        found.upto = 0
        found.recovered.CopyFrom(self.recovered)
        return found
