"""A quantile of the last values, in bounded memory."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from math import ceil, exp, isfinite, log

from wbpf.errors import ConfigError

_LEAST, _GREATEST = 1e-9, 1e12
_PANES = 8


class SlidingQuantile:
    """A quantile over a window of observations, with a bounded relative error.

    Values are counted in buckets whose bounds grow geometrically, as in DDSketch (Masson, Rim and Lee,
    "DDSketch: A fast and fully-mergeable quantile sketch with relative-error guarantees", PVLDB 12(12),
    2019): each value of a bucket is within `relative_error` of its middle. The window moves in eighths:
    the oldest pane is forgotten as a whole, so that the quantile follows what has shifted, up or down. The
    bucket of the quantile is kept at hand, so that an observation costs a logarithm and a few additions.
    Memory: a counter for each bucket that values of the window fell into, and one for each pane.

    Not safe for several threads at once: its owner has a lock.

    Args:
        q: above 0 and below 1.
        window: in observations; by default so many that 100 exceed the quantile, and at least 1000.
        relative_error: of `value`; for values from 1e-9 to 1e12, others count as the nearest of these.
    """

    def __init__(self, q: float, window: int | None = None, relative_error: float = 0.001) -> None:
        if not 0 < q < 1:
            raise ConfigError(f"{q} is not a quantile", "", "pass a number between 0 and 1, as 0.99")
        self.window = max(1000, ceil(100 / (1 - q))) if window is None else window
        if self.window < _PANES or not 0 < relative_error < 1:
            raise ConfigError(
                f"a window of {window} with a relative error of {relative_error} can't be made",
                "",
                f"use at least {_PANES} observations, and an error between 0 and 1",
            )
        self._log_gamma = log((1 + relative_error) / (1 - relative_error))
        self._above_share = 1 - q
        self._panes: deque[dict[int, int]] = deque([{}], maxlen=_PANES)
        self._in_pane = 0
        self._total = 0
        self._counts: dict[int, int] = {}  # of all panes
        self._buckets: list[int] = []  # those with counts, in order
        self._at = 0  # of the quantile's bucket in that list
        self._above = 0  # observations in buckets above it

    def __len__(self) -> int:
        """How many observations are in the window."""
        return self._total

    @property
    def value(self) -> float:
        """The quantile; 0 without observations."""
        if not self._total:
            return 0.0
        upper = exp(self._log_gamma * self._buckets[self._at])
        return 2 * upper / (exp(self._log_gamma) + 1)

    def add(self, value: float) -> bool:
        """Observe a value; NaN and infinities are passed over.

        Returns:
            Whether it exceeds the quantile of those before it: not if it is in the same bucket.
        """
        if not isfinite(value):
            return False
        if self._in_pane == self.window // _PANES:
            self._next_pane()
        bucket = ceil(log(min(max(value, _LEAST), _GREATEST)) / self._log_gamma)
        exceeds = self._total > 0 and bucket > self._buckets[self._at]
        pane = self._panes[-1]
        pane[bucket] = pane.get(bucket, 0) + 1
        self._in_pane += 1
        self._total += 1
        if bucket in self._counts:
            self._counts[bucket] += 1
        else:
            self._insert(bucket)
        self._above += exceeds
        self._settle()
        return exceeds

    def _insert(self, bucket: int) -> None:
        self._counts[bucket] = 1
        place = bisect_left(self._buckets, bucket)
        self._buckets.insert(place, bucket)
        if place <= self._at and self._total > 1:
            self._at += 1

    def _next_pane(self) -> None:
        if len(self._panes) == _PANES:
            for bucket, count in self._panes[0].items():
                self._forget(bucket, count)
        self._panes.append({})
        self._in_pane = 0

    def _forget(self, bucket: int, count: int) -> None:
        self._total -= count
        self._counts[bucket] -= count
        place = bisect_left(self._buckets, bucket)
        if place > self._at:
            self._above -= count
        if self._counts[bucket]:
            return
        del self._counts[bucket], self._buckets[place]
        if place > self._at:
            return
        if self._at > 0:
            self._at -= 1  # of the quantile's own bucket: the next lower one, with the same above it
        elif self._buckets:
            self._above -= self._counts[self._buckets[0]]

    def _settle(self) -> None:
        """Move to the lowest bucket that has no more than the wanted share above it."""
        wanted = self._above_share * self._total
        while self._above > wanted:
            self._at += 1
            self._above -= self._counts[self._buckets[self._at]]
        while self._at > 0:
            here = self._counts[self._buckets[self._at]]
            if self._above + here > wanted:
                break
            self._above += here
            self._at -= 1
