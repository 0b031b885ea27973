"""All gathers, open and closed: begun, asked for, opened again, forgotten."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from wbpf.coordinator.gather import Gather, Group, Part, StandIn, TriggerFacts
from wbpf.coordinator.hosts import Hosts

#: Triggers that were dealt with, remembered in case they are sent again.
SETTLED_MOST = 32_768


class Gathers:
    """The gathers, and what hosts are asked for them.

    Args:
        hosts: whose outboxes get the questions.
        limit_s: how long a gather may take before it is looked at.
    """

    def __init__(self, hosts: Hosts, limit_s: float) -> None:
        self._hosts = hosts
        self._limit_s = limit_s
        self._next_number = 1
        self.by_number: dict[int, Gather] = {}
        self.by_trace: dict[bytes, Gather] = {}
        self.open: dict[int, Gather] = {}
        self.closed: OrderedDict[int, float] = OrderedDict()  # number → when
        self.fires: dict[int, Gather] = {}  # triggers that are not settled
        self.settled: OrderedDict[int, None] = OrderedDict()
        self._checks: list[tuple[float, int]] = []

    def start(self, trace_id: bytes, trigger: TriggerFacts, group: Group, now: float) -> Gather:
        """Begin one, for which nobody is asked yet."""
        gather = Gather(self._next_number, trace_id, trigger, group, now, now)
        self._next_number = self._next_number % 0xFFFF_FFFF + 1
        group.members.append(gather)
        self.by_number[gather.number] = self.open[gather.number] = gather
        self.by_trace[trace_id] = gather
        self.check_at(gather, now + self._limit_s)
        return gather

    def ask(self, gather: Gather, host_id: int, now: float, named: bool, guessed: bool = False) -> None:
        """Ask a host, unless it was asked already."""
        if gather.ask(host_id, now, named, guessed):
            gather.settled = False
            host = self._hosts.get(host_id)
            if host is not None and host.outbox is not None:
                host.outbox.collect(gather.number, gather.trace_id)
            else:
                self.cover(gather, gather.parts[host_id], now)

    def ask_everyone(self, gather: Gather, now: float) -> bool:
        """Ask all attached hosts; False if that makes nobody's answer be waited for."""
        before = gather.awaited
        gather.everyone = True
        for host in (*self._hosts.attached(), *self._hosts.gone()):
            self.ask(gather, host.host_id, now, named=False)
        return gather.awaited > before

    def reopen(self, gather: Gather, host_ids: Iterable[int], now: float) -> None:
        """Look again: something came late, or a host is back."""
        self.closed.pop(gather.number, None)
        self.open[gather.number] = gather
        gather.closed = gather.settled = False
        gather.pending = True
        gather.progress_s = now
        for host_id in host_ids:
            part = gather.parts[host_id]
            part.answered, part.asked_s = False, now
            host = self._hosts.get(host_id)
            if host is not None and host.outbox is not None:
                host.outbox.collect(gather.number, gather.trace_id)
            else:
                part.stand_in = None
                self.cover(gather, part, now)
        self.check_at(gather, now + self._limit_s)

    def cover(self, gather: Gather, part: Part, now: float) -> None:
        """Have somebody who shares its pool tell what a host that is gone had flushed."""
        host, stand = self._hosts.get(part.host_id), part.stand_in
        if host is not None and host.outbox is not None:
            return
        if part.answered and part.delivered and not part.open_spans:
            return
        if stand is not None:
            by = self._hosts.get(stand.by)
            if stand.done or (by is not None and by.outbox is not None):
                return
        for survivor in self._hosts.survivors_of(part.host_id)[:1]:
            assert survivor.outbox is not None
            part.stand_in = StandIn(survivor.host_id, Part(part.host_id, part.named, now))
            gather.settled = False
            survivor.outbox.collect_for(part.host_id, gather.number, gather.trace_id)

    def cover_all(self, now: float) -> None:
        """Hosts are gone, or there are new ones that could stand in for them."""
        if any(host.pool_id for host in self._hosts.attached()):
            for gather in self.open.values():
                for part in gather.parts.values():
                    self.cover(gather, part, now)

    def settle_fires(self, group: Group) -> None:
        """Tell agents to let go of triggers once all that they asked for is stored."""
        if not group.stored():
            return
        for member in group.members:
            for fire_id, host_id in member.fires.items():
                host = self._hosts.get(host_id)
                if host is not None and host.outbox is not None:
                    host.outbox.settle(fire_id)
                self.fires.pop(fire_id, None)
                self.settled[fire_id] = None
                if len(self.settled) > SETTLED_MOST:
                    self.settled.popitem(last=False)
            member.fires.clear()

    def forget(self, number: int) -> None:
        """Of one that is closed, keep nothing."""
        self.closed.pop(number, None)
        gather = self.by_number.pop(number)
        if self.by_trace.get(gather.trace_id) is gather:
            del self.by_trace[gather.trace_id]
        for fire_id in gather.fires:
            self.fires.pop(fire_id, None)

    def check_at(self, gather: Gather, at_s: float) -> None:
        """Have it looked at then, not before."""
        gather.check_s = at_s
        heapq.heappush(self._checks, (at_s, gather.number))

    @property
    def next_check_s(self) -> float | None:
        """When a gather is to be looked at, monotonic."""
        return self._checks[0][0] if self._checks else None

    def due(self, now: float) -> Iterator[Gather]:
        """Gathers that are to be looked at."""
        while self._checks and self._checks[0][0] <= now:
            at_s, number = heapq.heappop(self._checks)
            gather = self.by_number.get(number)
            if gather is not None and not gather.closed and gather.check_s == at_s:
                yield gather
