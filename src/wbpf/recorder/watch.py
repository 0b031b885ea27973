"""Collecting what a segment has of given traces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wbpf import _native
from wbpf.recorder.segment import Segment


class Piece(NamedTuple):
    """A stretch of one run: records that follow each other in one chunk, of one trace and thread.

    Args:
        start_unit: place in the chunk, in units of 8 bytes.
        process: index of the process slot.
        begins, ends: without those of child spans.
        starts_run: False if it goes on where the piece returned before it ended.
        data: the records, for `wbpf.records.decode_run`.
        breadcrumbs: direction, peer's host id, edge's span id.
        laterals: named by TRIGGER records.
    """

    trace_id: bytes
    chunk: int
    uses: int
    start_unit: int
    process: int
    tid: int
    records: int
    begins: int
    ends: int
    starts_run: bool
    cleared: bool
    data: bytes
    breadcrumbs: list[tuple[int, int, int]]
    laterals: list[bytes]


class Watch:
    """A set of trace ids, and how far each chunk of a segment was read for them."""

    def __init__(self, segment: Segment) -> None:
        self._native = _native.Watch(segment.native, Piece)

    def add(self, ids: Iterable[bytes]) -> None:
        """Watch these traces too: the next poll looks for them everywhere."""
        self._native.add(ids)

    def remove(self, ids: Iterable[bytes]) -> None:
        """Watch them no longer."""
        self._native.remove(ids)

    def poll(self) -> tuple[list[Piece], int]:
        """Collect what was written for the watched traces since the last poll.

        Returns:
            The pieces, and the segment's `lost_until` in ticks, loaded after they were copied.
        """
        return self._native.poll()

    def dump(self) -> Iterator[Piece]:
        """All pieces of the whole segment, whatever the trace."""
        cursor, pieces = self._native.dump(0)
        while pieces:
            yield from pieces
            cursor, pieces = self._native.dump(cursor)
