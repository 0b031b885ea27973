"""A trigger on queues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from wbpf.errors import ConfigError
from wbpf.triggers.recent import RecentIds
from wbpf.triggers.sliding_quantile import SlidingQuantile
from wbpf.triggers.trigger import Trigger


class QueueLength(Trigger[int]):
    """Fires when a queue is longer than a limit, or than nearly always.

    Args:
        limit: the greatest length that is in order.
        percentile: instead of a limit: the quantile of the last lengths, as 0.99, to be exceeded.
    """

    def __init__(
        self,
        limit: int | None = None,
        *,
        percentile: float | None = None,
        name: str = "queue.length",
        laterals: RecentIds | None = None,
    ) -> None:
        super().__init__(name, laterals)
        if (limit is None) == (percentile is None):
            raise ConfigError(
                "QueueLength can't judge",
                "it takes a limit or a percentile, one of them",
                "write QueueLength(100) or QueueLength(percentile=0.99)",
            )
        self._limit = limit
        self._quantile: SlidingQuantile | None = None
        if percentile is not None:
            self._quantile = SlidingQuantile(percentile)
            self._warm_up = self._quantile.window // 10
        self._inside = 0
        self._inside_lock = Lock()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Observe, on entry, how many are in such a block now, with this one: waiting or being served."""
        with self._inside_lock:
            self._inside += 1
            length = self._inside
        try:
            self.observe(length)
            yield
        finally:
            with self._inside_lock:
                self._inside -= 1

    def _judge(self, value: int) -> float | None:
        if self._limit is not None:
            return float(value) if value > self._limit else None
        assert self._quantile is not None
        exceeds = self._quantile.add(value)
        return float(value) if exceeds and self.observed > self._warm_up else None
