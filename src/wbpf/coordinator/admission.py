"""Which traces are gathered when more triggers fire than can be served.

A trace is admitted or refused as a whole, before any host is asked. While there is room it is admitted at
once. When there is not, triggers are held for a moment, and then as many are chosen as there is room for: the
names in turn by their weights (start-time fair queueing, Goyal et al., SIGCOMM 1996), and of a name those
that come first in the order of a keyed hash of the trace id, whoever fires for it and however often. So the
shares are right whatever comes when, and no rate has to be known but that of the gathers which the slowest
daemon manages: it is searched for (additive increase, multiplicative decrease on the age of the oldest work).
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
from dataclasses import dataclass, field

from wbpf.coordinator.hosts import Host
from wbpf.wire import gather_pb2 as pb

#: Names with a share of their own; triggers with further names have one together.
NAMES_MOST = 512
OTHERS = "(others)"
#: How long triggers are held to be chosen from, when there are too many.
HOLD_S = 0.05
#: What is not used is kept for so long. Half of it is for those who have not had their share, when they come.
BURST_S = 0.25
#: So long after its last trigger a name counts as one that wants its share. Who got less gets at most so much
#: of it in advance.
CREDIT_S = 2.0
#: Traces held, as long as few names ask for them.
HELD_MOST = 4096
#: How far back rates are remembered, seconds.
MEMORY_S = 1.0
CONTROL_S = 0.1
#: Above this part of the gathers that may be open, there are too many.
CROWDED = 0.8


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


@dataclass(slots=True, eq=False)
class Candidate:
    """A trace that is to be gathered, with its laterals: `cost` gathers in all.

    Args:
        fires: the triggers that ask for it, and the hosts they came from.
    """

    trigger: str
    weight: float
    trace_id: bytes
    cost: int
    fires: dict[int, tuple[Host, pb.Fire]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Share:
    """One trigger name's part.

    Args:
        finish: virtual time up to which it has been served: gathers by weight.
        asked_s: when a trigger last came, monotonic.
        held: its traces, by the order of the hash, the last first (a heap).
    """

    weight: float = 1.0
    admitted: int = 0
    refused: int = 0
    finish: float = 0.0
    asked_s: float = float("-inf")
    held: list[tuple[float, bytes, Candidate]] = field(default_factory=list)


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
        self.held: dict[bytes, Candidate] = {}
        self.due_s: float | None = None
        self._key = key or secrets.token_bytes(16)
        self._virtual = 0.0  # the mean of what they had, by weight, of all names that want something
        self._floor = 0.0
        self._weights = 1.0
        self._tokens = self._tokens_most
        self._filled_s = 0.0
        self._names_held = 0
        self._done = self._admitted = self._offered = 0
        self._done_rate = self._admitted_rate = self._offered_rate = 0.0
        self._controlled_s: float | None = None
        self._decreased_s = 0.0
        self._lagging_s = float("inf")  # since when there is a lag

    def place(self, trace_id: bytes) -> float:
        """Where a trace id stands between 0 and 1."""
        digest = hashlib.blake2b(trace_id, key=self._key, digest_size=8).digest()
        return int.from_bytes(digest, "little") / (1 << 64)

    def admit(self, candidate: Candidate, now_s: float, in_flight: int) -> bool:
        """Admit a trace at once, unless it may have to give way to others: then `hold` it."""
        self._offered += candidate.cost
        share = self._share(candidate)
        if now_s - share.asked_s >= CREDIT_S:
            share.finish = min(share.finish, self._virtual)  # what it had before is forgotten
        share.asked_s = now_s
        self._fill(now_s)
        crowded = in_flight + candidate.cost > CROWDED * self.spec.in_flight_most
        if self.held or crowded or self._tokens < self._tokens_most / 2:
            return False
        self._serve(share, candidate)
        return True

    def hold(self, candidate: Candidate, now_s: float, in_flight: int) -> Candidate | None:
        """Keep a trace until `due_s`; returns the one that is refused for it, which may be the same."""
        share = self._share(candidate)
        if not self.held:
            self.due_s = now_s + HOLD_S
        self._names_held += not share.held
        # No more of one name than could be chosen if all were of that name.
        most = self.spec.in_flight_most - in_flight
        if self.capacity is not None:
            most = min(most, int(self._tokens + self.capacity * HOLD_S) + 1)
        most = max(min(most, HELD_MOST // self._names_held), 1)
        item = -self.place(candidate.trace_id), candidate.trace_id, candidate
        self.held[candidate.trace_id] = candidate
        if len(share.held) < most:
            heapq.heappush(share.held, item)
            return None
        _, _, refused = heapq.heappushpop(share.held, item)
        del self.held[refused.trace_id]
        share.refused += 1
        return refused

    def choose(self, now_s: float, in_flight: int) -> tuple[list[Candidate], list[Candidate]]:
        """Decide about all that are held: those admitted, those refused."""
        self._fill(now_s)
        self._balance(now_s)
        room = self.spec.in_flight_most - in_flight
        waiting = [share for share in self.shares.values() if share.held]
        ready = []
        for number, share in enumerate(waiting):
            share.held.sort()
            ready.append((share.finish, number, share))
        heapq.heapify(ready)
        admitted, refused = [], []
        while ready and room > 0 and self._tokens >= 1:
            finish, number, share = heapq.heappop(ready)
            if self._tokens < self._tokens_most / 2 and finish > self._virtual + 1 / share.weight:
                break  # all that are here have had more than their share: others will come
            _, _, candidate = share.held.pop()
            if candidate.cost <= room:
                room -= candidate.cost
                self._serve(share, candidate)
                admitted.append(candidate)
            else:
                share.refused += 1
                refused.append(candidate)
            if share.held:
                heapq.heappush(ready, (share.finish, number, share))
        for share in waiting:
            share.refused += len(share.held)
            refused += [candidate for _, _, candidate in share.held]
            share.held.clear()
        self.held.clear()
        self.due_s, self._names_held = None, 0
        return admitted, refused

    def _serve(self, share: Share, candidate: Candidate) -> None:
        """Admit; what is admitted without need to choose counts too."""
        share.finish = max(share.finish, self._floor) + candidate.cost / share.weight
        share.admitted += 1
        self._virtual += candidate.cost / self._weights
        self._admitted += candidate.cost
        self._tokens -= candidate.cost

    def _balance(self, now_s: float) -> None:
        """Find out what the names that want something have had."""
        active = [share for share in self.shares.values() if now_s - share.asked_s < CREDIT_S]
        if active:
            self._weights = sum(share.weight for share in active)
            self._floor = self._virtual - CREDIT_S * (self.capacity or 0.0) / self._weights
            for share in active:
                share.finish = max(share.finish, self._floor)
            self._virtual = sum(share.weight * share.finish for share in active) / self._weights

    @property
    def _tokens_most(self) -> float:
        return max(BURST_S * self.capacity, 2.0) if self.capacity is not None else float("inf")

    def _fill(self, now_s: float) -> None:
        passed_s, self._filled_s = max(now_s - self._filled_s, 0.0), now_s
        if self.capacity is not None:
            self._tokens = min(self._tokens + self.capacity * passed_s, self._tokens_most)

    def _share(self, candidate: Candidate) -> Share:
        share = self.shares.get(candidate.trigger)
        if share is None:
            name = candidate.trigger if len(self.shares) < NAMES_MOST else OTHERS
            share = self.shares.setdefault(name, Share())
        share.weight = candidate.weight
        return share

    def done(self, gathers: int = 1) -> None:
        """So many gathers were stored."""
        self._done += gathers

    def control(self, now_s: float, lag_s: float, in_flight: int) -> None:
        """Find out what is managed; to be called every `CONTROL_S` while there is work.

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
        self._offered_rate = keep * self._offered_rate + (1 - keep) * self._offered / passed_s
        if not in_flight and not self._offered and not self.held:
            # Nothing is wanted and nothing is under way: what was, is over.
            self._offered_rate = 0.0
            self._set_capacity(None)
        self._done = self._admitted = self._offered = 0
        self._balance(now_s)
        self._adapt(now_s, lag_s, in_flight)

    def _adapt(self, now_s: float, lag_s: float, in_flight: int) -> None:
        if lag_s <= self.spec.lag_s:
            self._lagging_s = now_s
        lagging = now_s - self._lagging_s > self.spec.lag_s
        if lagging or in_flight > CROWDED * self.spec.in_flight_most:
            # What was managed lately is the best guess of what can be; not twice for the same queue.
            if now_s - self._decreased_s > 2 * self.spec.lag_s:
                self._decreased_s = now_s
                known = [rate for rate in (self.capacity, self._done_rate) if rate]
                lower = 0.8 * min(known, default=self._admitted_rate)
                self._set_capacity(max(lower, 0.5 * self._done_rate, 1.0))
        elif self.capacity is not None and lag_s < self.spec.lag_s / 4:
            grown = self.capacity
            if self._admitted_rate > 0.5 * self.capacity:
                grown += max(0.04 * self.capacity, 1.0)
            grown = max(min(grown, 1.25 * self._done_rate + 1), self.capacity)
            self._set_capacity(None if grown > 1.5 * self._offered_rate else grown)

    def _set_capacity(self, capacity: float | None) -> None:
        limit = self.spec.rate_most or None
        if limit is not None:
            capacity = min(capacity or limit, limit)
        if self.capacity is None and capacity is not None:
            # An overload begins: nobody is owed anything, and what is under way comes first.
            self._virtual = self._floor = self._tokens = 0.0
            for share in self.shares.values():
                share.finish = 0.0
        self.capacity = capacity
        self._tokens = min(self._tokens, self._tokens_most) if capacity is not None else float("inf")
