"""Pieces: what agents ship and the store keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from wbpf.errors import FormatError
from wbpf.records.layout import UNIT_BYTES

_U32, _U64 = 1 << 32, 1 << 64


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one run: records that follow each other in one chunk, of one trace and thread.

    Args:
        start_unit: place in the chunk, in units of 8 bytes.
        starts_run: False if it goes on where another piece of the run ended.
        data: whole records, as they stand in the chunk.

    Raises:
        FormatError: the sizes are impossible.
    """

    trace_id: bytes
    segment_id: int
    chunk: int
    uses: int
    start_unit: int
    tid: int
    pid: int
    starts_run: bool
    data: bytes

    def __post_init__(self) -> None:
        if (
            len(self.trace_id) != 16
            or not self.data
            or len(self.data) % UNIT_BYTES
            or not (0 <= self.segment_id < _U64 and 0 <= self.uses < _U64)
            or not (0 <= self.chunk < _U32 and 0 <= self.start_unit < _U32)
            or not (0 <= self.tid < _U32 and 0 <= self.pid < _U32)
        ):
            raise FormatError(
                f"not a piece of a trace: {len(self.data)} bytes of chunk {self.chunk}",
                "a piece has a 16-byte trace id, whole units of 8 bytes and unsigned numbers",
            )

    @property
    def identity(self) -> tuple[int, int, int, int]:
        return self.segment_id, self.chunk, self.uses, self.start_unit

    @property
    def end_unit(self) -> int:
        return self.start_unit + len(self.data) // UNIT_BYTES


def join(pieces: Iterable[Piece]) -> list[Piece]:
    """Put the pieces of each run together. Units that came twice are taken once.

    Returns:
        One piece a run, in the order of chunks and places. A run with a hole gives several.
    """
    runs: list[Piece] = []
    tail: list[bytes] = []

    def close() -> None:
        if tail:
            runs[-1] = replace(runs[-1], data=b"".join((runs[-1].data, *tail)))
            tail.clear()

    end = 0
    ordered = sorted(
        pieces, key=lambda p: (p.segment_id, p.chunk, p.uses, p.trace_id, p.start_unit, -len(p.data))
    )
    for piece in ordered:
        last = runs[-1] if runs else None
        if (
            last is None
            or (last.segment_id, last.chunk, last.uses, last.trace_id)
            != (piece.segment_id, piece.chunk, piece.uses, piece.trace_id)
            or piece.start_unit > end
            or (piece.start_unit == end and piece.starts_run)
        ):
            close()
            runs.append(piece)
            end = piece.end_unit
        elif piece.end_unit > end:
            tail.append(piece.data[(end - piece.start_unit) * UNIT_BYTES :])
            end = piece.end_unit
    close()
    return sorted(runs, key=lambda p: p.identity)
