"""What recording costs, measured by the process that records.

Each kind of call is timed by itself, between pieces of the job's own work that leave the processor's caches
as the job leaves them, and multiplied by how often the job made it. The records that the pool's library
writes by itself are counted by the segment and charged like an event made from Python, which is more than
they cost. docs/demo.md compares the sum with the time of the same work done with and without recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from statistics import fmean
from types import TracebackType

import wbpf
from wbpf.recorder import Segment, segment_path

#: Events come in rows, one for each flight or group of a request: so many are timed together.
EVENTS = 10


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
    """Takes stock of this process, from the moment it is made; a context manager.

    Args:
        work: a piece of the job's work that records nothing.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._call_ns = measure(work)
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


def measure(work: Callable[[], object], times: int = 200) -> Calls:
    """Time the calls; writes their records, like the job, to the segment of this process.

    Args:
        work: what is done between two calls.
        times: how often each is timed.
    """

    def each(call: Callable[[], object]) -> float:
        return max(0.0, _taken_ns(call, work, times) - idle_ns)

    idle_ns = _taken_ns(lambda: None, work, times)
    with wbpf.trace("cost.measure"):
        context = wbpf.send("cost")
        return Calls(
            begin=each(_begin),
            join=each(lambda: _join(context)),
            span=each(_span),
            event=each(_events) / EVENTS,
            send=each(lambda: wbpf.send("cost")),
        )


def _taken_ns(call: Callable[[], object], work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        work()
        start = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - start)
    # The longest are those during which the processor did something else.
    return fmean(sorted(taken)[: max(1, times * 19 // 20)])


def _begin() -> None:
    with wbpf.trace("cost.begin", request=1, first=2, flights=3):
        pass


def _join(context: wbpf.TraceContext) -> None:
    with wbpf.trace("cost.join", parent=context, request=1, partition="1.2"):
        pass


def _span() -> None:
    with wbpf.span("cost.span"):
        pass


def _events() -> None:
    for flights in range(EVENTS):
        wbpf.event("cost.event", carrier="UA", weather="clear", manufacturer="BOEING", flights=flights)
