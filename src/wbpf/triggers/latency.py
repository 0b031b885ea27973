"""Triggers on how long something took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter_ns

from wbpf.errors import ConfigError
from wbpf.triggers.recent import RecentIds
from wbpf.triggers.sliding_quantile import SlidingQuantile
from wbpf.triggers.trigger import Trigger


class _Latency(Trigger[float]):
    @contextmanager
    def watch(self) -> Iterator[None]:
        """Observe how many milliseconds the block takes, whether or not an exception leaves it."""
        begin = perf_counter_ns()
        try:
            yield
        finally:
            self.observe((perf_counter_ns() - begin) / 1e6)


class LatencyThreshold(_Latency):
    """Fires for what takes longer than a fixed time.

    Args:
        ms: the time in milliseconds.
    """

    def __init__(
        self, ms: float, *, name: str = "latency.threshold", laterals: RecentIds | None = None
    ) -> None:
        super().__init__(name, laterals)
        if not ms >= 0:
            raise ConfigError(f"{ms} ms is no latency", "", "pass a number of milliseconds, at least 0")
        self.ms = ms

    def _judge(self, value: float) -> float | None:
        return value if value > self.ms else None


class LatencyPercentile(_Latency):
    """Fires for the slowest: what takes longer than the quantile `q` of the last observations.

    After the warm-up it fires for about 1 - q of all, and follows when latencies shift. It does not fire for
    what exceeds the quantile by less than the sketch's resolution of 0.2 %.

    Args:
        q: 0.99 for the slowest hundredth.
        window: observations that the quantile is taken over, see `SlidingQuantile`.
        warm_up: observations before it fires; a tenth of the window by default.
    """

    def __init__(
        self,
        q: float,
        *,
        window: int | None = None,
        warm_up: int | None = None,
        name: str = "latency.percentile",
        laterals: RecentIds | None = None,
    ) -> None:
        super().__init__(name, laterals)
        self._quantile = SlidingQuantile(q, window)
        self._warm_up = self._quantile.window // 10 if warm_up is None else warm_up

    @property
    def threshold_ms(self) -> float:
        """The quantile now."""
        with self._lock:
            return self._quantile.value

    def _judge(self, value: float) -> float | None:
        exceeds = self._quantile.add(value)
        return value if exceeds and self.observed > self._warm_up else None
