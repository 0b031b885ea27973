"""What recording costs, measured by the process that records.

Each kind of call is timed in a loop in the same process, and multiplied by how often the job made it. The
records that the pool's library writes by itself are counted by the segment and charged like an event made
from Python, which is more than they cost. A loop finds its code in the processor's caches more often than a
job does: docs/demo.md compares the share with runs of the whole job with and without a recorder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from statistics import median
from types import TracebackType

import wbpf
from wbpf.recorder import Segment, segment_path


@dataclass(slots=True)
class Calls:
    """How often each kind of call was made, or what one takes in ns."""

    begin: float = 0
    join: float = 0
    span: float = 0
    event: float = 0
    send: float = 0

    def add(self, other: Calls) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def __mul__(self, other: Calls) -> float:
        return float(sum(getattr(self, field.name) * getattr(other, field.name) for field in fields(self)))

    @property
    def records(self) -> float:
        """What these calls wrote: begin, end, attributes and breadcrumbs."""
        return 3 * self.begin + 4 * self.join + 2 * self.span + self.event + self.send


@dataclass(frozen=True, slots=True)
class Cost:
    """One process's account of a run.

    Args:
        cpu_s: processor time that the process used for the job, recording included.
        recording_s: of that, for recording.
        records: written to the host's segment.
        bytes: what they took.
    """

    cpu_s: float
    recording_s: float
    records: int
    bytes: int


class Account:
    """Takes stock of this process, from the moment it is made; a context manager."""

    def __init__(self) -> None:
        self._call_ns = measure()
        self._segment = Segment.open(segment_path() or "")
        self._before = _written(self._segment)
        self._cpu_s = time.process_time()

    def cost(self, calls: Calls) -> Cost:
        """What was used since, of which these calls are a part."""
        cpu_s = time.process_time() - self._cpu_s
        records, written = (
            now - before for now, before in zip(_written(self._segment), self._before, strict=True)
        )
        by_the_pool = max(0, records - calls.records)
        recording_ns = calls * self._call_ns + by_the_pool * self._call_ns.event
        return Cost(cpu_s, recording_ns / 1e9, records, written)

    def __enter__(self) -> Account:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._segment.close()


def _written(segment: Segment) -> tuple[int, int]:
    """Records and bytes since the segment was made."""
    counters = segment.counters()
    return (
        counters.resident_records + counters.recycled_records,
        counters.resident_bytes + counters.recycled_bytes,
    )


def measure(batches: int = 7, calls: int = 300) -> Calls:
    """Time the calls; writes their records, like the job, to the segment of this process."""

    def each(call: Callable[[], object]) -> float:
        return _per_call_ns(call, batches, calls) - idle

    idle = _per_call_ns(lambda: None, batches, calls)
    with wbpf.trace("cost.measure"):
        context = wbpf.send("cost")
        return Calls(
            begin=each(_begin),
            join=each(lambda: _join(context)),
            span=each(_span),
            event=each(_event),
            send=each(lambda: wbpf.send("cost")),
        )


def _begin() -> None:
    with wbpf.trace("cost.begin", request=1, first=2, flights=3):
        pass


def _join(context: wbpf.TraceContext) -> None:
    with wbpf.trace("cost.join", parent=context, request=1, partition="1.2"):
        pass


def _span() -> None:
    with wbpf.span("cost.span"):
        pass


def _event() -> None:
    wbpf.event("cost.event", partition="1.2", flights=3, bytes=4)


def _per_call_ns(call: Callable[[], object], batches: int, calls: int) -> float:
    taken = []
    for _ in range(batches):
        start = time.process_time_ns()
        for _ in range(calls):
            call()
        taken.append((time.process_time_ns() - start) / calls)
    return median(taken)
