"""Finds congestion from its symptom: operations that take longer than others of their class have of late."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median


@dataclass(slots=True)
class _Class:
    recent: deque[float]
    limit: float = 0.0
    middle: float = 0.0
    spread: float = 0.0
    until_refresh: int = 0


@dataclass(slots=True)
class ServiceTimes:
    """An outlier test by median and median absolute deviation (MAD) of recent operations of the same class.

    What is tested is the delay relative to the operation's base, (service - base) / base, since operations
    differ in size. An alarm is a delay beyond median + k·MAD.

    `k` is 12. For a normal spread one MAD is 0.67 standard deviations (σ), so the limit lies at 8 σ, which
    noise passes less than once in 10^15 operations. The MAD of 256 operations is itself within a third of
    the truth (4.5 of its standard errors), and the limit even then beyond 5 σ. What has to be found is
    larger by far: a link congested by half takes 50 % longer, 25 σ of a device that varies by 2 %.

    Args:
        k: how many MADs beyond the median an alarm is.
        window: how many operations of a class are remembered; before that many there is no alarm.
        refresh: median and MAD are taken again after so many operations.
        floor: the least MAD assumed, for service times that do not vary at all.
    """

    k: float = 12.0
    window: int = 256
    refresh: int = 64
    floor: float = 0.002
    _classes: dict[str, _Class] = field(default_factory=dict)

    def observe(self, operation: str, service_ns: int, base_ns: int) -> float | None:
        """Take note of one operation.

        Args:
            operation: its class.
            service_ns: what it took.
            base_ns: what an operation of its kind and size takes at least.

        Returns:
            How many MADs beyond the median it was if that is an alarm, else None.
        """
        known = self._classes.get(operation)
        if known is None:
            known = self._classes[operation] = _Class(deque(maxlen=self.window), until_refresh=self.window)
        delay = (service_ns - base_ns) / base_ns
        known.recent.append(delay)
        known.until_refresh -= 1
        alarm = (delay - known.middle) / known.spread if known.spread and delay > known.limit else None
        if known.until_refresh <= 0:
            self._refresh(known)
        return alarm

    def _refresh(self, known: _Class) -> None:
        known.middle = median(known.recent)
        known.spread = max(median(abs(delay - known.middle) for delay in known.recent), self.floor)
        known.limit = known.middle + self.k * known.spread
        known.until_refresh = self.refresh
