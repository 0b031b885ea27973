"""A trigger on what hardly ever happens."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from math import ceil

from wbpf.errors import ConfigError
from wbpf.triggers.recent import RecentIds
from wbpf.triggers.trigger import Trigger


class RareCategory(Trigger[Hashable]):
    """Fires for categories with a small share of the last observations: a rare status, branch or client.

    The shares are counted by the Misra-Gries summary as of Agarwal et al. ("Mergeable summaries", PODS 2012):
    a table of `4 / rate` to `8 / rate` counters, from which the smallest are thrown out when it is full.
    Whatever the number of categories, a share is too low by at most a quarter of the rate, which is known and
    added: what is common is never taken for rare. Counts are halved once a window, so that what was common
    long ago can be rare again.

    Args:
        rate: 0.01 for categories with less than one in a hundred.
        window: observations after which counts are halved; 100 / rate by default.
        warm_up: observations before it fires; 10 / rate by default.
    """

    def __init__(
        self,
        rate: float,
        *,
        window: int | None = None,
        warm_up: int | None = None,
        name: str = "category.rare",
        laterals: RecentIds | None = None,
    ) -> None:
        super().__init__(name, laterals)
        if not 0 < rate < 1:
            raise ConfigError(f"{rate} is not a rate", "", "pass a share between 0 and 1, as 0.01")
        self.rate = rate
        self._window = ceil(100 / rate) if window is None else window
        self._warm_up = ceil(10 / rate) if warm_up is None else warm_up
        self._kept = ceil(4 / rate)
        self._counts: dict[int, int] = {}  # by the category's hash: categories may be large
        self._total = 0
        self._missing = 0  # a count is too low by at most this

    @contextmanager
    def watch(self, category: Hashable = None) -> Iterator[None]:
        """Observe the category when the block ends; without one, how it ends: "ok" or the exception."""
        try:
            yield
        except BaseException as error:
            self.observe(type(error).__qualname__ if category is None else category)
            raise
        else:
            self.observe("ok" if category is None else category)

    def _judge(self, value: Hashable) -> float | None:
        key = hash(value)
        at_most = self._counts.get(key, 0) + self._missing
        fires = self.observed > self._warm_up and at_most < self.rate * self._total
        share = at_most / self._total if self._total else 0.0
        self._counts[key] = self._counts.get(key, 0) + 1
        self._total += 1
        if len(self._counts) > 2 * self._kept:
            self._throw_out()
        if self._total >= 2 * self._window:
            self._halve()
        return share if fires else None

    def _throw_out(self) -> None:
        least = sorted(self._counts.values(), reverse=True)[self._kept]
        self._counts = {key: count - least for key, count in self._counts.items() if count > least}
        self._missing += least

    def _halve(self) -> None:
        self._counts = {key: count // 2 for key, count in self._counts.items() if count > 1}
        self._total //= 2
        self._missing = self._missing // 2 + 1
