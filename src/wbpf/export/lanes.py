"""Rows of slices that nest: where the spans of one thread overlap without one being inside the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wbpf.records import Span, Trace


class Step(NamedTuple):
    """A span begins or ends."""

    span: Span
    begins: bool


@dataclass(slots=True)
class Lane:
    """Beginnings and ends that nest, by time.

    Args:
        number: of the lane among those of its thread.
    """

    number: int
    steps: list[Step] = field(default_factory=list)
    _open: list[Span] = field(default_factory=list)

    def add(self, span: Span, ends: Mapping[int, int]) -> bool:
        """Put a span that begins no earlier than those before it here, if it fits."""
        while self._open and ends[self._open[-1].span_id] <= span.start_unix_ns:
            self._close_last()
        if self._open and ends[self._open[-1].span_id] < ends[span.span_id]:
            return False
        self._open.append(span)
        self.steps.append(Step(span, begins=True))
        return True

    def close(self) -> None:
        while self._open:
            self._close_last()

    def _close_last(self) -> None:
        self.steps.append(Step(self._open.pop(), begins=False))


def span_ends(trace: Trace) -> dict[int, int]:
    """When each span ended, or, without an end, the last that is known of it and those below it."""
    ends: dict[int, int] = {}
    for span in reversed([span for _, span in trace.spans()]):
        end = span.end_unix_ns
        if end is None:
            known = [record.time_unix_ns for record in span.records]
            end = max([span.start_unix_ns, *known, *(ends[child.span_id] for child in span.children)])
        ends[span.span_id] = max(end, span.start_unix_ns)
    return ends


def lay_out(trace: Trace, ends: Mapping[int, int]) -> list[Lane]:
    """Lanes of all threads; each thread's first lane is number 0 and has its outermost spans."""
    threads: dict[tuple[str, int, int], list[Lane]] = {}
    by_time = sorted(trace.spans(), key=lambda item: (item[1].start_unix_ns, -ends[item[1].span_id], item[0]))
    for _, span in by_time:
        lanes = threads.setdefault((span.host, span.pid, span.tid), [])
        if not any(lane.add(span, ends) for lane in lanes):
            lane = Lane(len(lanes))
            lane.add(span, ends)
            lanes.append(lane)
    every = [lane for lanes in threads.values() for lane in lanes]
    for lane in every:
        lane.close()
    return every
