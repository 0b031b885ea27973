"""How gathers end: concluded, stored, closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from wbpf.coordinator import verdict
from wbpf.coordinator.admission import Admission
from wbpf.coordinator.clock import Clock
from wbpf.coordinator.forecast import Forecast
from wbpf.coordinator.gather import Gather, Needs
from wbpf.coordinator.gathers import Gathers
from wbpf.coordinator.hosts import Hosts
from wbpf.coordinator.spec import CoordinatorSpec
from wbpf.coordinator.verdict import Waiting
from wbpf.records import Conclusion, Status

#: So many gathers have to wait for daemons before that is called overload.
LAGGING_LEAST = 32
#: How often a gather past its limit is looked at again.
RECHECK_S = 0.5


class ToStore(NamedTuple):
    """A conclusion for the collector, which keeps it once it has these pieces of these agents."""

    version: int
    conclusion: Conclusion
    needs: Needs


class Endings:
    """Whether gathers are over, and what comes of it.

    Args:
        spec: limits.
        clock: time.
        hosts, gathers: all of them.
        admission: is told of gathers that are done.
        forecast: learns from them.
        wake: called when `to_store` got its first entry.
    """

    def __init__(
        self,
        spec: CoordinatorSpec,
        clock: Clock,
        hosts: Hosts,
        gathers: Gathers,
        admission: Admission,
        forecast: Forecast,
        wake: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._hosts = hosts
        self._gathers = gathers
        self._admission = admission
        self._forecast = forecast
        self._wake = wake
        self.to_store: dict[int, ToStore] = {}
        self.counts: Counter[Status] = Counter()
        self.lagging: dict[int, float] = {}  # gathers that wait for a daemon, and since when
        self.collector_away = False
        self.on_stored: Callable[[Gather], None] = lambda gather: None

    def review(self, gather: Gather, now: float) -> None:
        """Something about the gather has changed: is it over?"""
        waiting = verdict.waits_for(gather, self._hosts, now)
        if waiting is Waiting.PEERS:
            self.lagging.setdefault(gather.number, now)
            return
        self.lagging.pop(gather.number, None)
        # Has whoever was asked nothing of the trace, or not its beginning? Then it was elsewhere too.
        elsewhere = gather.rootless or not gather.has_records
        if elsewhere and not gather.everyone and self._gathers.ask_everyone(gather, now):
            self.lagging.setdefault(gather.number, now)
        elif waiting is Waiting.NOTHING:
            if gather.nowhere:
                gather.pending = False
                self._close(gather, now)
            else:
                self._conclude(gather, now, settled=True)

    def _conclude(self, gather: Gather, now: float, settled: bool) -> None:
        conclusion = verdict.conclude(gather, self._hosts, self._spec.patience, now, self._clock.unix_ns())
        gather.settled = settled
        needs = verdict.needs_of(gather, self._hosts, now)
        changed = gather.conclusion is None or not verdict.same_findings(gather.conclusion, conclusion)
        if changed or (needs != gather.needs and gather.stored_version != gather.version):
            if gather.conclusion is not None:
                self.counts[gather.conclusion.status] -= 1
            self.counts[conclusion.status] += 1
            gather.conclusion, gather.needs, gather.concluded_s = conclusion, needs, now
            gather.version += 1
            self.to_store[gather.number] = ToStore(gather.version, conclusion, needs)
            self.lagging.setdefault(gather.number, now)
            self._wake()
        elif settled and gather.stored_version == gather.version and not gather.closed:
            gather.pending = False
            self._close(gather, now)

    def stored(self, number: int, version: int) -> None:
        """The collector has acknowledged a conclusion."""
        gather = self._gathers.by_number.get(number)
        if gather is None:
            return
        if gather.stored_version == 0:
            self._admission.done()
        gather.stored_version = max(gather.stored_version, version)
        if gather.version == version:
            for part in gather.parts.values():
                stored = gather.needs.get(part.host_id) == (part.agent, part.upto)
                part.delivered = part.delivered or (stored and part.upto != 0)
        gather.pending = False
        self._gathers.settle_fires(gather.group)
        if gather.version == version:
            self.lagging.pop(number, None)
            if gather.settled and not gather.closed:
                self._close(gather, self._clock.mono_s())
        self.on_stored(gather)

    def store_again(self, number: int, version: int) -> None:
        """A conclusion was sent but not acknowledged."""
        gather = self._gathers.by_number.get(number)
        if gather is not None and gather.conclusion is not None and gather.version == version:
            self.to_store.setdefault(number, ToStore(version, gather.conclusion, gather.needs))

    def _close(self, gather: Gather, now: float) -> None:
        """It is over: hosts may let go of the trace."""
        gather.closed = True
        if gather.primary and gather.trigger.name:
            took_part = [part.host_id for part in gather.parts.values() if part.best.records]
            self._forecast.learn(gather.trigger.name, took_part)
        self._gathers.settle_fires(gather.group)
        self._gathers.open.pop(gather.number, None)
        self.lagging.pop(gather.number, None)
        self._gathers.closed[gather.number] = now
        for host_id in gather.parts:
            host = self._hosts.get(host_id)
            if host is not None and host.outbox is not None:
                host.outbox.release(gather.number)
        self.on_stored(gather)
        while len(self._gathers.closed) > self._spec.retain_most:
            self.forget(next(iter(self._gathers.closed)))

    def check(self, gather: Gather, now: float) -> None:
        """A gather's time is over, unless it was given more since."""
        patience = self._spec.patience
        waiting = verdict.waits_for(gather, self._hosts, now)
        if waiting is Waiting.NOTHING:
            late = gather.concluded_s + patience.peers_s < now and not self.collector_away
            if gather.needs and gather.stored_version != gather.version and late:
                # The collector does not get what was promised.
                for part in gather.parts.values():
                    part.upto = 0
                waiting = Waiting.PEERS
            else:
                self.review(gather, now)
        elif waiting is Waiting.TRACE:
            self.lagging.pop(gather.number, None)
        limit_s = patience.peers_s if waiting is Waiting.PEERS else patience.limit_s
        if waiting is not Waiting.NOTHING and now >= gather.progress_s + limit_s:
            watched_s = now - gather.progress_s
            crowded = len(self._gathers.open) > self._spec.admission.in_flight_most // 2
            given_up = watched_s >= patience.watch_s or (waiting is Waiting.TRACE and crowded)
            broken = gather.needs and gather.stored_version != gather.version
            if gather.conclusion is None or given_up or broken:
                self._conclude(gather, now, settled=given_up)
        if not gather.closed:
            self._gathers.check_at(gather, max(gather.progress_s + patience.limit_s, now + RECHECK_S))

    def lag_s(self, now: float) -> float:
        """How long the oldest gather has been waiting for a daemon that works; 0 for a few gathers.

        A collector that is away is no sign of overload: what it missed is stored when it is back.
        """
        if self.collector_away or len(self.lagging) < LAGGING_LEAST:
            return 0.0
        return now - next(iter(self.lagging.values()))

    def forget(self, number: int) -> None:
        """A gather that was closed long ago."""
        self.to_store.pop(number, None)
        self._gathers.forget(number)
