"""Which traces are gathered when more triggers fire than can be served.

A trace is admitted or refused as a whole, once, before any host is asked, by a keyed hash of its id: whoever
fires for it, and how often, meets the same answer. Under overload each trigger name has a threshold on that
hash, set so that the names share what can be gathered by their weights (water-filling), and so that the sum
follows what the slowest daemon manages (additive increase, multiplicative decrease on the age of the oldest
work). What a name got too much or too little, by chance or in a burst, is made up for afterwards.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

#: Names with a threshold of their own; triggers with further names share one.
NAMES_MOST = 512
OTHERS = "(others)"
#: How far back rates are remembered, seconds.
MEMORY_S = 1.0
CONTROL_S = 0.1
#: What is owed to a name, or by it, is at most its share of so many seconds, and is settled within one.
DEBT_S = 2.0


@dataclass(frozen=True, slots=True)
class AdmissionSpec:
    """When to refuse.

    Args:
        in_flight_most: gathers open at one time.
        rate_most: gathers a second; 0: as many as are managed.
        lag_s: work older than this, and for as long as this, is a sign of overload.
    """

    in_flight_most: int = 4096
    rate_most: float = 0.0
    lag_s: float = 0.5


@dataclass(slots=True)
class Share:
    """One trigger name's part.

    Args:
        threshold: share of the trace ids that is admitted.
        offered_rate: gathers a second asked for of late; `offered` and `taken` count since the last control.
        allowed: gathers a second that it is given.
        owed: gathers that it was allowed and did not get; negative: that it got beyond.
    """

    weight: float = 1.0
    threshold: float = 1.0
    admitted: int = 0
    refused: int = 0
    offered: float = 0.0
    offered_rate: float = 0.0
    taken: float = 0.0
    allowed: float = 0.0
    owed: float = 0.0


class Admission:
    """The gate for new gathers.

    Args:
        spec: limits.
        key: of the hash; hosts don't know it, so nobody can choose ids that always pass.
    """

    def __init__(self, spec: AdmissionSpec, key: bytes | None = None) -> None:
        self.spec = spec
        self.capacity = spec.rate_most or None
        self.shares: dict[str, Share] = {}
        self._key = key or secrets.token_bytes(16)
        self._done = 0
        self._admitted = 0
        self._burst = 0.0
        self._done_rate = 0.0
        self._admitted_rate = 0.0
        self._controlled_s: float | None = None
        self._decreased_s = 0.0
        self._lagging_s = float("inf")  # since when there is a lag

    def place(self, trace_id: bytes) -> float:
        """Where a trace id stands between 0 and 1."""
        digest = hashlib.blake2b(trace_id, key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "little") / (1 << 64)

    def admit(self, trigger: str, weight: float, trace_id: bytes, cost: int, in_flight: int) -> bool:
        """Decide for a trace and its laterals, `cost` gathers in all."""
        share = self._share(trigger)
        share.weight = weight
        share.offered += cost
        admitted = in_flight + cost <= self.spec.in_flight_most and self.place(trace_id) < share.threshold
        if admitted:
            share.admitted += 1
            share.taken += cost
            self._admitted += cost
            if self.capacity is not None and self._admitted > self._burst:
                # Much more than was expected: do not wait for the next control.
                self._burst *= 2
                for each in self.shares.values():
                    each.offered_rate = max(each.offered_rate, each.offered / CONTROL_S)
                self._share_out()
        else:
            share.refused += 1
        return admitted

    def _share(self, trigger: str) -> Share:
        share = self.shares.get(trigger)
        if share is None:
            name = trigger if len(self.shares) < NAMES_MOST else OTHERS
            share = self.shares.setdefault(name, Share())
        return share

    def done(self, gathers: int = 1) -> None:
        """So many gathers were stored."""
        self._done += gathers

    def control(self, now_s: float, lag_s: float, in_flight: int) -> None:
        """Set the thresholds anew; to be called every `CONTROL_S` while there is work.

        Args:
            now_s: monotonic.
            lag_s: age of the oldest work that waits for a daemon.
            in_flight: gathers open now.
        """
        if self._controlled_s is None:
            self._controlled_s = now_s
            return
        passed_s = now_s - self._controlled_s
        if passed_s < CONTROL_S / 2:
            return
        self._controlled_s = now_s
        keep = max(1 - passed_s / MEMORY_S, 0.0)
        self._done_rate = keep * self._done_rate + (1 - keep) * self._done / passed_s
        self._admitted_rate = keep * self._admitted_rate + (1 - keep) * self._admitted / passed_s
        self._done = self._admitted = 0
        idle = not in_flight and not any(share.offered for share in self.shares.values())
        if idle:
            # Nothing is wanted and nothing is under way: what was, is over.
            self.capacity = self.spec.rate_most or None
            for share in self.shares.values():
                share.offered_rate = 0.0
        for share in self.shares.values():
            if self.capacity is not None and not idle:
                most = share.allowed * DEBT_S
                share.owed = min(max(share.owed + share.allowed * passed_s - share.taken, -most), most)
            rate = share.offered / passed_s
            # What begins is believed at once: who seems to want little leaves the rest to others.
            if rate < 2 * share.offered_rate:
                rate = keep * share.offered_rate + (1 - keep) * rate
            share.offered_rate = rate
            share.offered = share.taken = 0.0
        self._adapt(now_s, lag_s, in_flight)
        self._burst = 2 * CONTROL_S * (self.capacity or 0.0)
        self._share_out()

    def _adapt(self, now_s: float, lag_s: float, in_flight: int) -> None:
        limit = self.spec.rate_most or None
        offered = sum(share.offered_rate for share in self.shares.values())
        if lag_s <= self.spec.lag_s:
            self._lagging_s = now_s
        lagging = now_s - self._lagging_s > self.spec.lag_s
        if lagging or in_flight > 0.8 * self.spec.in_flight_most:
            # What was managed lately is the best guess of what can be; not twice for the same queue.
            if now_s - self._decreased_s > 2 * self.spec.lag_s:
                self._decreased_s = now_s
                known = [rate for rate in (self.capacity, self._done_rate) if rate]
                self.capacity = max(0.9 * min(known, default=self._admitted_rate), 1.0)
        elif self.capacity is not None and lag_s < self.spec.lag_s / 2:
            if self._admitted_rate > 0.5 * self.capacity:
                self.capacity += max(0.04 * self.capacity, 1.0)
            if self.capacity > 1.5 * offered:
                self.capacity = None
        if limit is not None:
            self.capacity = min(self.capacity or limit, limit)

    def _share_out(self) -> None:
        if self.capacity is None:
            for share in self.shares.values():
                share.threshold, share.owed = 1.0, 0.0
            return
        allowed = water_fill(
            self.capacity, {name: (s.offered_rate, s.weight) for name, s in self.shares.items()}
        )
        for name, share in self.shares.items():
            share.allowed = allowed[name]
            if share.offered_rate > 0:
                wanted = share.allowed + share.owed / MEMORY_S
                share.threshold = min(max(wanted / share.offered_rate, 0.0), 1.0)


def water_fill(capacity: float, wanted: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Share a capacity by weights (weighted max-min): nobody gets more than wanted; others get the rest.

    Args:
        capacity: to be shared.
        wanted: what each asks for, and its weight.
    """
    given = dict.fromkeys(wanted, 0.0)
    # From the one that is content with the lowest level of water.
    order = sorted(wanted, key=lambda name: wanted[name][0] / max(wanted[name][1], 1e-9))
    weights = sum(weight for _, weight in wanted.values())
    left = capacity
    for name in order:
        demand, weight = wanted[name]
        given[name] = min(demand, left * weight / weights) if weights > 0 else 0.0
        left -= given[name]
        weights -= weight
    return given
