"""Segments, as agents and tools read them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from wbpf import _native
from wbpf.errors import ConfigError
from wbpf.records import Calibration


@dataclass(frozen=True, slots=True)
class Process:
    """A process that writes to a segment, or did.

    Args:
        generation: of its process slot `index`; both together name it for good.
        pid: in its own namespace.
        refused: records that it could not write.
        truncated: records whose payload was cut.
    """

    index: int
    generation: int
    pid: int
    name: str
    alive: bool
    refused: int
    truncated: int


class Fired(NamedTuple):
    """A trigger that an application fired.

    Args:
        slot, token: for `Segment.ack_trigger`.
        verb: of `wbpf.records.layout.Verb`.
        trigger_id: schema id of its name.
        start_unix_ns: of the trace, by the clock of the host where it began; 0 if not known.
        level: for the verb REDUCE.
    """

    slot: int
    token: int
    verb: int
    trigger_id: int
    trace_id: bytes
    start_unix_ns: int
    value: float
    ticks: int
    level: int
    laterals: list[bytes]


@dataclass(frozen=True, slots=True)
class Counters:
    """What a segment has taken and lost.

    Args:
        resident_records: still in it; `recycled_records` were overwritten.
        oldest_ticks: when the oldest chunk that is still there was opened.
        lost_until_ticks: newest record that was overwritten; 0 if nothing was lost.
    """

    resident_records: int
    recycled_records: int
    resident_bytes: int
    recycled_bytes: int
    refused: int
    truncated: int
    triggers_dropped: int
    chunks_owned: int
    chunks_used: int
    processes_alive: int
    threads: int
    oldest_ticks: int
    lost_until_ticks: int


class Segment:
    """A segment of a live service, or a file. Nothing in it is trusted.

    Args:
        path: of the segment.
        writable: to take triggers, clear traces, set levels and calibrate.

    Raises:
        SegmentError: there is none, or it can't be mapped.
        AccessError: a right is missing, or everybody may write to it.
        FormatError: it is no segment, of another version, or its layout is impossible.
    """

    def __init__(self, path: str | os.PathLike[str], writable: bool = False) -> None:
        self._wrap(_native.Segment(os.fspath(path), writable), Path(path))

    @classmethod
    def of(cls, native: _native.Segment, path: Path) -> Self:
        """Wrap one that is mapped already, such as one read from a pool."""
        segment = cls.__new__(cls)
        segment._wrap(native, path)
        return segment

    def _wrap(self, native: _native.Segment, path: Path) -> None:
        self.path = path
        self.native = native
        facts = self.native.facts()
        self.host: str = facts["host"]
        self.host_id: int = facts["host_id"]
        self.incarnation: int = facts["incarnation"]
        self.service: str = facts["service"]
        self.segment_id: int = facts["segment_id"]
        self.chunk_bytes: int = facts["chunk_bytes"]
        self.chunk_count: int = facts["chunk_count"]
        self.clock_kind: int = facts["clock_kind"]
        self.ticks_hz: int = facts["ticks_hz"]
        self.created_unix_ns: int = facts["created_unix_ns"]
        self.size_bytes: int = facts["size_bytes"]

    @classmethod
    def open(cls, path: str | os.PathLike[str], writable: bool = False) -> Self:
        """Map a segment."""
        return cls(path, writable)

    def close(self) -> None:
        """Let go of it. Watches of it can still be used."""
        self.native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def schemas(self, offset: int = 0) -> tuple[int, list[tuple[int, str]]]:
        """The schemas registered since a call returned `offset`: the next offset, ids and descriptors."""
        return self.native.schemas(offset)

    def calibrate(self) -> None:
        """Read the counter against the clocks once more. Only on the segment's own host."""
        self.native.calibrate()

    def calibrations(self) -> list[Calibration]:
        """The readings that are kept, by ticks."""
        return [Calibration(*row) for row in self.native.calibrations()]

    def ticks_to_unix_ns(self, ticks: int) -> int:
        """The host's CLOCK_REALTIME at those ticks."""
        return self.native.ticks_to_unix_ns(ticks)

    def now_ticks(self) -> int:
        """The counter now, on this host."""
        return self.native.now_ticks()

    def counters(self) -> Counters:
        """What it has taken and lost so far."""
        return Counters(**self.native.counters())

    def processes(self) -> list[Process]:
        """All that ever wrote to it, but for those whose slot another one has taken since."""
        return [Process(*row) for row in self.native.processes()]

    def take_triggers(self, again: bool = False) -> list[Fired]:
        """Take what has fired. With `again` also what was taken and not acknowledged: after a restart."""
        return [Fired(*row) for row in self.native.take_triggers(again)]

    def ack_trigger(self, slot: int, token: int) -> None:
        """A trigger is in good hands: its slot is free again."""
        self.native.ack_trigger(slot, token)

    def cleared(self, position: int) -> tuple[int, list[bytes]]:
        """The next position, and the trace ids cleared since `position` (at first 0). Some may be lost."""
        return self.native.cleared(position)

    def clear(self, ids: Iterable[bytes]) -> int:
        """Mark these traces as known to be good, but in chunks that a live process has.

        Returns:
            In how many places they were marked.
        """
        return self.native.clear(ids)

    def set_level(self, level: int | str) -> None:
        """Set the host's threshold; 0 takes everything. Repeat it now and then: a thread may miss it."""
        self.native.set_level(_threshold(level))

    def set_trace_level(self, trace_id: bytes, level: int | str) -> None:
        """Give a trace a threshold of its own; 0 takes it away.

        Raises:
            SegmentError: as many traces have one as the segment has room for.
        """
        self.native.set_trace_level(trace_id, _threshold(level))


def _threshold(level: int | str) -> int:
    if level in (0, "0"):
        return 0
    if isinstance(level, str) and level.isdigit():
        raise ConfigError(f"{level!r} is not a level", "it is a number in a str", f"pass {level} as an int")
    return _native.level_number(level)
