"""The traces that came last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeAlias

from wbpf import recorder
from wbpf.errors import ConfigError

TraceId: TypeAlias = str | bytes | recorder.TraceContext


class RecentIds:
    """The last few traces, to be gathered with one that shows a symptom: they may have caused it.

    It stands in a trace's `triggers` to remember it when it ends, and is a trigger's `laterals`.

    Args:
        count: how many to remember.
    """

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ConfigError(f"RecentIds({count}) remembers nothing", "", "pass a count of at least 1")
        self._ids: deque[bytes] = deque(maxlen=count)
        self._lock = Lock()

    def observe(self, value: object = None, trace_id: TraceId | None = None) -> bool:
        """Remember a trace: the current one if none is named. Never fires.

        Args:
            value: not looked at; triggers take one here.
            trace_id: of the trace.
        """
        del value
        trace = _id_of(recorder.current() if trace_id is None else trace_id)
        if trace is not None:
            with self._lock:
                if trace in self._ids:
                    self._ids.remove(trace)
                self._ids.append(trace)
        return False

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Remember the trace that is current when the block ends."""
        try:
            yield
        finally:
            self.observe()

    def __iter__(self) -> Iterator[bytes]:
        """The ids, oldest first, as they are now."""
        with self._lock:
            return iter(tuple(self._ids))

    def __len__(self) -> int:
        return len(self._ids)


def _id_of(trace: TraceId | None) -> bytes | None:
    if isinstance(trace, recorder.TraceContext):
        return bytes.fromhex(trace.trace_id) if trace else None
    return bytes.fromhex(trace) if isinstance(trace, str) else trace
