"""Thresholds that were asked for: of the host, and of single traces."""

from __future__ import annotations

from collections import OrderedDict

from wbpf.agent.segments import Attached
from wbpf.errors import SegmentError
from wbpf.records.layout import LEVEL_OVERRIDES


class Levels:
    """The wanted levels, applied to every segment there is and comes. Of traces the last so many that fit."""

    def __init__(self) -> None:
        self._host: int | None = None
        self._traces: OrderedDict[bytes, int] = OrderedDict()
        self._changes: list[tuple[bytes, int]] = []

    def change(self, trace_id: bytes, level: int) -> None:
        """Want a level for a trace (0: none of its own) or, with an empty id, the host; `apply` does it."""
        if not trace_id:
            self._host = level
            return
        self._traces.pop(trace_id, None)
        if level:
            self._traces[trace_id] = level
            if len(self._traces) > LEVEL_OVERRIDES:
                self._remove(self._traces.popitem(last=False)[0])
        else:
            self._remove(trace_id)

    def _remove(self, trace_id: bytes) -> None:
        self._changes.append((trace_id, 0))
        del self._changes[: -4 * LEVEL_OVERRIDES]

    def apply(self, attached: Attached) -> None:
        """Make a segment as it is wanted."""
        segment = attached.segment
        for trace_id, level in self._changes:
            segment.set_trace_level(trace_id, level)
        for trace_id, level in self._traces.items():
            try:
                segment.set_trace_level(trace_id, level)
            except SegmentError:
                break  # what another agent left there fills it; it is better to record too much
        if self._host is not None:
            segment.set_level(self._host)

    def correct(self, attached: Attached) -> None:
        """Once more, for threads that missed the change."""
        if self._host is not None or self._traces:
            self.apply(attached)
