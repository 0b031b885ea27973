"""The coordinator's decisions: a state machine driven by messages and a clock, without any I/O of its own.

What goes out is put into the hosts' outboxes and into `to_store`; whoever runs it sends that.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple, Protocol

from wbpf.coordinator import verdict
from wbpf.coordinator.admission import CONTROL_S, Admission, Candidate
from wbpf.coordinator.forecast import Forecast
from wbpf.coordinator.gather import LATERALS_MOST, Gather, Group, Needs, Part, StandIn, TriggerFacts
from wbpf.coordinator.hosts import Host, Hosts
from wbpf.coordinator.offset import TIME_MOST_NS
from wbpf.coordinator.outbox import Outbox
from wbpf.coordinator.spec import CoordinatorSpec
from wbpf.coordinator.verdict import Waiting
from wbpf.errors import WireError
from wbpf.records import Conclusion, Status
from wbpf.wire import PROTOCOL
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed, clip, split_ids, validate_host, validate_trace_id

#: Triggers that were dealt with, remembered in case they are sent again.
SETTLED_MOST = 32_768
#: Traces with a level of their own, told to hosts that come later: as many as a segment holds.
LEVELS_MOST = 32
WATCHING_MOST = 100_000
#: So many gathers have to wait for daemons before that is called overload.
LAGGING_LEAST = 32
#: How often a gather past its limit is looked at again.
RECHECK_S = 0.5
#: What a name may weigh; one that claims something else weighs 1.
WEIGHT_LEAST, WEIGHT_MOST = 1e-3, 1e6


class ToStore(NamedTuple):
    """A conclusion for the collector, which keeps it once it has these pieces of these agents."""

    version: int
    conclusion: Conclusion
    needs: Needs


class Clock(Protocol):
    """Time as the coordinator sees it."""

    def mono_s(self) -> float: ...

    def unix_ns(self) -> int: ...


class Coordination:
    """All gathers, open and closed.

    Args:
        spec: limits.
        clock: time.
        session: random, one a start of the coordinator.
        wake: called when `to_store` got its first entry.
    """

    def __init__(
        self, spec: CoordinatorSpec, clock: Clock, session: int, wake: Callable[[], None] = lambda: None
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.session = session
        self.hosts = Hosts()
        self.admission = Admission(spec.admission)
        self.forecast = Forecast()
        self.to_store: dict[int, ToStore] = {}
        self.counts: Counter[str] = Counter()
        self.collector_away = False
        self.on_stored: Callable[[Gather], None] = lambda gather: None
        self.on_held: Callable[[], None] = lambda: None
        self._wake = wake
        self._next_number = 1
        self._gathers: dict[int, Gather] = {}
        self._open: dict[int, Gather] = {}
        self._by_trace: dict[bytes, Gather] = {}
        self._closed: OrderedDict[int, float] = OrderedDict()
        self._fires: dict[int, Gather] = {}
        self._settled: OrderedDict[int, None] = OrderedDict()
        self._lagging: dict[int, float] = {}
        self._checks: list[tuple[float, int]] = []
        self._controlled_s = 0.0
        self._levels: OrderedDict[bytes, int] = OrderedDict()
        self._host_levels: dict[int, int] = {}

    # ---- hosts ---------------------------------------------------------------------------------------------

    def attach(self, hello: pb.Hello, address: str, wake: Callable[[], None]) -> Host:
        """Take an agent in.

        Raises:
            Malformed: the message can't be right.
            WireError: another agent speaks for this host, or there are too many.
        """
        if hello.protocol != PROTOCOL:
            raise WireError(
                f"the agent of {hello.host!r} speaks protocol {hello.protocol}, this coordinator {PROTOCOL}",
                hint="install the same version everywhere",
            )
        validate_host(hello.host, hello.host_id)
        if len(hello.watching) > WATCHING_MOST:
            raise Malformed(f"{len(hello.watching)} traces watched")
        for watching in hello.watching:
            validate_trace_id(watching.trace_id)
        now = self.clock.mono_s()
        before = self.hosts.get(hello.host_id)
        other_agent = before is not None and before.agent_id != hello.agent_id
        host = self.hosts.admit(hello, address, now, self.clock.unix_ns())
        if host is None:
            if before is None:
                raise WireError(f"host {hello.host!r} is one too many", f"{self.hosts.most} are attached")
            raise WireError(
                f"another agent speaks for host {hello.host!r}",
                f"it is attached from {before.address}",
                "give each host a name of its own (--host, WBPF_HOST)",
            )
        host.outbox = Outbox(wake)
        host.outbox.put(pb.ToAgent(welcome=pb.Welcome(session=self.session)))
        for trace_id, level in self._levels.items():
            host.outbox.set_level(trace_id, level)
        if host.host_id in self._host_levels:
            host.outbox.set_level(b"", self._host_levels[host.host_id])
        self._ask_again(host, other_agent, now)
        if host.pool_id:
            self._cover_all(now)
        for watching in hello.watching:
            self._resume(host, host.outbox, watching, now)
        return host

    def _ask_again(self, host: Host, other_agent: bool, now: float) -> None:
        assert host.outbox is not None
        for gather in self._open.values():
            part = gather.parts.get(host.host_id)
            if part is not None:
                # What it tells starts again; what another agent had not yet shipped was lost with it.
                part.answered, part.asked_s = False, now
                part.delivered = part.delivered and not other_agent
                host.outbox.collect(gather.number, gather.trace_id)
            elif gather.everyone:
                self._ask(gather, host.host_id, now, named=False)
        for number in list(self._closed):
            gather = self._gathers[number]
            part = gather.parts.get(host.host_id)
            incomplete = gather.conclusion is not None and gather.conclusion.status is not Status.COMPLETE
            if part is None and gather.everyone and incomplete:
                gather.ask(host.host_id, now, named=False)
                self._reopen(gather, [host.host_id], now)
            elif part is not None and not part.answered:
                self._reopen(gather, [host.host_id], now)

    def _resume(self, host: Host, outbox: Outbox, watching: pb.Watching, now: float) -> None:
        """An agent watches a trace, perhaps for a coordinator that is gone."""
        trace_id = watching.trace_id
        gather = self._by_trace.get(trace_id)
        if gather is None and watching.session != self.session:
            trigger = TriggerFacts("", 0.0, host.name, self.clock.unix_ns())
            gather = self._start(trace_id, trigger, Group(trace_id), now)
        if gather is None or gather.closed:
            outbox.forget(trace_id)
        else:
            self._ask(gather, host.host_id, now, named=watching.found)

    def detach(self, host: Host, outbox: Outbox) -> None:
        """An agent's stream ended."""
        if host.outbox is outbox:
            host.outbox = None
            host.left_unix_ns = self.clock.unix_ns()
            now = self.clock.mono_s()
            for gather in self._open.values():
                part = gather.parts.get(host.host_id)
                if part is not None:
                    self._lagging.pop(gather.number, None)
                    if not part.delivered and gather.settled:
                        gather.settled = False
                        self._check_at(gather, now + self.spec.patience.limit_s)
            self._cover_all(now)

    def _cover_all(self, now: float) -> None:
        """Hosts are gone, or there are new ones that could stand in for them."""
        if any(host.pool_id for host in self.hosts.attached()):
            for gather in self._open.values():
                for part in gather.parts.values():
                    self._cover(gather, part, now)

    def _cover(self, gather: Gather, part: Part, now: float) -> None:
        """Have somebody who shares its pool tell what a host that is gone had flushed."""
        host, stand = self.hosts.get(part.host_id), part.stand_in
        if host is not None and host.outbox is not None:
            return
        if part.answered and part.delivered and not part.open_spans:
            return
        if stand is not None:
            by = self.hosts.get(stand.by)
            if stand.done or (by is not None and by.outbox is not None):
                return
        for survivor in self.hosts.survivors_of(part.host_id)[:1]:
            assert survivor.outbox is not None
            part.stand_in = StandIn(survivor.host_id, Part(part.host_id, part.named, now))
            gather.settled = False
            survivor.outbox.collect_for(part.host_id, gather.number, gather.trace_id)

    def heard(self, host: Host) -> None:
        """Something came from an agent."""
        host.heard_s, host.heard_unix_ns = self.clock.mono_s(), self.clock.unix_ns()

    def pong(self, host: Host, pong: pb.Pong, t3_unix_ns: int) -> None:
        now, first = self.clock.mono_s(), not len(host.clock)
        host.clock.add(now, pong.t0_unix_ns, pong.t1_unix_ns, pong.t2_unix_ns, t3_unix_ns)
        if first:
            for gather in list(self._open.values()):
                if host.host_id in gather.parts:
                    self._review(gather, now)

    # ---- triggers ------------------------------------------------------------------------------------------

    def fire(self, host: Host, fire: pb.Fire) -> None:
        """A trigger fired, or is told again.

        Raises:
            Malformed: the message can't be right.
        """
        assert host.outbox is not None
        trace_id = validate_trace_id(fire.trace_id)
        laterals = split_ids(fire.laterals, LATERALS_MOST)
        if fire.fire_id in self._settled:
            host.outbox.settle(fire.fire_id)
            return
        if (known := self._fires.get(fire.fire_id)) is not None:
            known.fires[fire.fire_id] = host.host_id
            host.outbox.admit(fire.fire_id)
            self._settle_fires(known.group)
            return
        now = self.clock.mono_s()
        if trace_id in self._by_trace:
            self._take(host, fire, now)
        elif (candidate := self.admission.held.get(trace_id)) is not None:
            candidate.fires[fire.fire_id] = host, fire
        else:
            weight = fire.weight if WEIGHT_LEAST <= fire.weight <= WEIGHT_MOST else 1.0
            fresh = sum(lateral not in self._by_trace for lateral in laterals)
            fires = {fire.fire_id: (host, fire)}
            self._weigh(Candidate(_name_of(fire), weight, trace_id, 1 + fresh, fires), now)

    def _weigh(self, candidate: Candidate, now: float) -> None:
        if self.admission.admit(candidate, now, len(self._open)):
            self._admit(candidate, now)
            return
        if not self.admission.held:
            self.on_held()
        refused = self.admission.hold(candidate, now, len(self._open))
        if refused is not None:
            self._refuse(refused)

    def _choose(self, now: float) -> None:
        """Which of the triggers that were held are to be served?"""
        admitted, refused = self.admission.choose(now, len(self._open))
        for candidate in admitted:
            self._admit(candidate, now)
        for candidate in refused:
            self._refuse(candidate)

    def _admit(self, candidate: Candidate, now: float) -> None:
        for host, fire in candidate.fires.values():
            if host.outbox is not None:  # it tells again when it is back
                self._take(host, fire, now)

    def _refuse(self, candidate: Candidate) -> None:
        self.counts["refused"] += 1
        for host, fire in candidate.fires.values():
            if host.outbox is not None:
                host.outbox.refuse(fire.fire_id)

    def _take(self, host: Host, fire: pb.Fire, now: float) -> None:
        """Gather the trace of a trigger that was admitted."""
        assert host.outbox is not None
        trace_id, laterals = fire.trace_id, split_ids(fire.laterals, LATERALS_MOST)
        offset = host.offset(now)
        told_unix_ns = fire.fired_unix_ns + (offset.offset_ns if offset else 0)
        fired_unix_ns = min(max(told_unix_ns, 0), TIME_MOST_NS)
        trigger = TriggerFacts(_name_of(fire), fire.value, host.name, fired_unix_ns)
        gather = self._by_trace.get(trace_id)
        if gather is None:
            gather = self._start(trace_id, trigger, Group(trace_id), now)
            for likely in self.forecast.likely(trigger.name):
                likely_host = self.hosts.get(likely)
                if likely_host is not None and likely_host.reachable(now):
                    self._ask(gather, likely, now, named=False, guessed=True)
        else:
            if not gather.trigger.name or not gather.primary:
                gather.trigger, gather.primary = trigger, True
            gather.progress_s = now
            if gather.closed:
                self._reopen(gather, gather.parts, now)
        gather.fires[fire.fire_id] = host.host_id
        self._fires[fire.fire_id] = gather
        gather.start_unix_ns = gather.start_unix_ns or fire.start_unix_ns
        self._ask(gather, host.host_id, now, named=False)
        gather.parts[host.host_id].fired = True
        host.outbox.admit(fire.fire_id)
        self._join(gather, laterals, host.host_id, now)
        if gather.conclusion is not None:
            self._review(gather, now)

    def dump(self, trace_ids: Iterable[bytes]) -> list[Gather]:
        """Gather traces because a person asks for them: from every host, whatever the load."""
        now = self.clock.mono_s()
        gathers = []
        for trace_id in trace_ids:
            gather = self._by_trace.get(trace_id)
            if gather is None:
                trigger = TriggerFacts("dump", 0.0, "", self.clock.unix_ns())
                gather = self._start(trace_id, trigger, Group(trace_id), now)
            elif gather.closed:
                gather.progress_s = now
                self._reopen(gather, gather.parts, now)
            self._ask_everyone(gather, now)
            self._review(gather, now)
            gathers.append(gather)
        return gathers

    def reduce(self, trace_id: bytes, level: int, host: Host | None = None) -> list[str]:
        """Set the level of a trace or, with an empty id, of a host; returns who was told."""
        if not 0 <= level <= 255 or (not trace_id and not level):
            raise Malformed(f"level {level}")
        if trace_id:
            validate_trace_id(trace_id)
            self._levels.pop(trace_id, None)
            if level:
                self._levels[trace_id] = level
            if len(self._levels) > LEVELS_MOST:
                self._levels.popitem(last=False)
        told = self.hosts.attached() if host is None else [host]
        for one in told:
            if not trace_id:
                self._host_levels[one.host_id] = level
            if one.outbox is not None:
                one.outbox.set_level(trace_id, level)
        return [one.name for one in told if one.outbox is not None]

    def clear(self, trace_ids: list[bytes], source: Host | None = None) -> list[str]:
        """Tell the other hosts that these traces are known to be good; returns who was told."""
        told = []
        for host in self.hosts.attached():
            if host is not source and host.outbox is not None:
                host.outbox.clear(trace_ids)
                told.append(host.name)
        return told

    # ---- gathers -------------------------------------------------------------------------------------------

    def _start(self, trace_id: bytes, trigger: TriggerFacts, group: Group, now: float) -> Gather:
        gather = Gather(self._next_number, trace_id, trigger, group, now, now)
        self._next_number = self._next_number % 0xFFFF_FFFF + 1
        group.members.append(gather)
        self._gathers[gather.number] = self._open[gather.number] = gather
        self._by_trace[trace_id] = gather
        self._check_at(gather, now + self.spec.patience.limit_s)
        return gather

    def _join(self, gather: Gather, laterals: Iterable[bytes], host_id: int, now: float) -> None:
        """Gather these traces too; where they were is where the trigger's host has met them."""
        group = gather.group
        joined = False
        for trace_id in laterals:
            if (
                trace_id in group.laterals
                or trace_id == gather.trace_id
                or len(group.laterals) >= LATERALS_MOST
            ):
                continue
            joined = True
            group.laterals[trace_id] = None
            if trace_id not in self._by_trace:
                lateral = self._start(trace_id, gather.trigger, group, now)
                lateral.primary = False
                self._ask(lateral, host_id, now, named=False)
        if joined:
            self._review(gather, now)

    def _ask(self, gather: Gather, host_id: int, now: float, named: bool, guessed: bool = False) -> None:
        if gather.ask(host_id, now, named, guessed):
            gather.settled = False
            host = self.hosts.get(host_id)
            if host is not None and host.outbox is not None:
                host.outbox.collect(gather.number, gather.trace_id)
            else:
                self._cover(gather, gather.parts[host_id], now)

    def _ask_everyone(self, gather: Gather, now: float) -> bool:
        """Ask all attached hosts; False if that makes nobody's answer be waited for."""
        before = gather.awaited
        gather.everyone = True
        for host in (*self.hosts.attached(), *self.hosts.gone()):
            self._ask(gather, host.host_id, now, named=False)
        return gather.awaited > before

    def _reopen(self, gather: Gather, host_ids: Iterable[int], now: float) -> None:
        """Look again: something came late, or a host is back."""
        self._closed.pop(gather.number, None)
        self._open[gather.number] = gather
        gather.closed = gather.settled = False
        gather.pending = True
        gather.progress_s = now
        for host_id in host_ids:
            part = gather.parts[host_id]
            part.answered, part.asked_s = False, now
            host = self.hosts.get(host_id)
            if host is not None and host.outbox is not None:
                host.outbox.collect(gather.number, gather.trace_id)
            else:
                part.stand_in = None
                self._cover(gather, part, now)
        self._check_at(gather, now + self.spec.patience.limit_s)

    def found(self, host: Host, found: pb.Found) -> None:
        """A host tells what it has of a trace.

        Raises:
            Malformed: the message can't be right.
        """
        of_other = found.HasField("recovered")
        gather = self._gathers.get(found.gather)
        part = gather.parts.get(found.recovered.host_id if of_other else host.host_id) if gather else None
        if gather is None or part is None:
            raise Malformed(f"gather {found.gather}, about which {host.name} was not asked")
        now = self.clock.mono_s()
        stand = part.stand_in
        if of_other:
            if stand is None or stand.by != host.host_id:
                return  # the host itself is back, or somebody else was asked
            part, told = stand.part, found.recovered
            stand.flushed_unix_ns, stand.alive, stand.torn = told.flushed_unix_ns, told.alive, told.torn
            part.incarnation = told.incarnation
        else:
            part.incarnation, part.agent = host.incarnation, host.agent_id & 0xFFFF_FFFF
            if stand is not None and stand.part.incarnation == host.incarnation:
                part.stand_in = None  # the same life of the host: its own agent knows more
        named, nameless, laterals = gather.absorb(part, found, now)
        self._date(gather, now)
        if gather.closed and (named or nameless or part.open_spans):
            self._reopen(gather, [], now)
            assert host.outbox is not None
            if not of_other:
                host.outbox.collect(gather.number, gather.trace_id)
        for peer in named:
            self._ask(gather, peer, now, named=True)
        if nameless or (of_other and part.named):  # what was not flushed may have led on
            self._ask_everyone(gather, now)
        if gather.primary:
            self._join(gather, laterals, host.host_id, now)
        self._review(gather, now)

    def _date(self, gather: Gather, now: float) -> None:
        """Note when the trace began, by our own clock: the longer ago, the less sure are those of hosts."""
        if gather.start_unix_ns:
            origin = self.hosts.get(gather.origin)
            offset = origin.offset(now) if origin else None
            began_unix_ns = gather.start_unix_ns + (offset.offset_ns if offset else 0)
            gather.began_s = now - max(self.clock.unix_ns() - began_unix_ns, 0) / 1e9

    def delivered(self, host: Host, numbers: Iterable[int]) -> None:
        """The collector has acknowledged what a host had found for these gathers."""
        now = self.clock.mono_s()
        for number in numbers:
            gather = self._gathers.get(number)
            part = gather.parts.get(host.host_id) if gather is not None else None
            if gather is None or part is None:
                raise Malformed(f"gather {number}, about which {host.name} was not asked")
            if not part.delivered:
                part.delivered = True
                self._review(gather, now)

    def _review(self, gather: Gather, now: float) -> None:
        """Something about the gather has changed: is it over?"""
        waiting = verdict.waits_for(gather, self.hosts, now)
        if waiting is Waiting.PEERS:
            self._lagging.setdefault(gather.number, now)
            return
        self._lagging.pop(gather.number, None)
        # Has whoever was asked nothing of the trace, or not its beginning? Then it was elsewhere too.
        elsewhere = gather.rootless or not gather.has_records
        if elsewhere and not gather.everyone and self._ask_everyone(gather, now):
            self._lagging.setdefault(gather.number, now)
        elif waiting is Waiting.NOTHING:
            if gather.nowhere:
                gather.pending = False
                self._close(gather, now)
            else:
                self._conclude(gather, now, settled=True)

    def _conclude(self, gather: Gather, now: float, settled: bool) -> None:
        conclusion = verdict.conclude(gather, self.hosts, self.spec.patience, now, self.clock.unix_ns())
        gather.settled = settled
        needs = verdict.needs_of(gather, self.hosts, now)
        changed = gather.conclusion is None or not verdict.same_findings(gather.conclusion, conclusion)
        if changed or (needs != gather.needs and gather.stored_version != gather.version):
            if gather.conclusion is not None:
                self.counts[gather.conclusion.status] -= 1
            self.counts[conclusion.status] += 1
            gather.conclusion, gather.needs, gather.concluded_s = conclusion, needs, now
            gather.version += 1
            self.to_store[gather.number] = ToStore(gather.version, conclusion, needs)
            self._lagging.setdefault(gather.number, now)
            self._wake()
        elif settled and gather.stored_version == gather.version and not gather.closed:
            gather.pending = False
            self._close(gather, now)

    def stored(self, number: int, version: int) -> None:
        """The collector has acknowledged a conclusion."""
        gather = self._gathers.get(number)
        if gather is None:
            return
        if gather.stored_version == 0:
            self.admission.done()
        gather.stored_version = max(gather.stored_version, version)
        if gather.version == version:
            for part in gather.parts.values():
                stored = gather.needs.get(part.host_id) == (part.agent, part.upto)
                part.delivered = part.delivered or (stored and part.upto != 0)
        gather.pending = False
        self._settle_fires(gather.group)
        if gather.version == version:
            self._lagging.pop(number, None)
            if gather.settled and not gather.closed:
                self._close(gather, self.clock.mono_s())
        self.on_stored(gather)

    def _settle_fires(self, group: Group) -> None:
        """Tell agents to let go of triggers once all that they asked for is stored."""
        if not group.stored():
            return
        for member in group.members:
            for fire_id, host_id in member.fires.items():
                host = self.hosts.get(host_id)
                if host is not None and host.outbox is not None:
                    host.outbox.settle(fire_id)
                self._fires.pop(fire_id, None)
                self._settled[fire_id] = None
                if len(self._settled) > SETTLED_MOST:
                    self._settled.popitem(last=False)
            member.fires.clear()

    def _close(self, gather: Gather, now: float) -> None:
        gather.closed = True
        if gather.primary and gather.trigger.name:
            took_part = [part.host_id for part in gather.parts.values() if part.best.records]
            self.forecast.learn(gather.trigger.name, took_part)
        self._settle_fires(gather.group)
        self._open.pop(gather.number, None)
        self._lagging.pop(gather.number, None)
        self._closed[gather.number] = now
        for host_id in gather.parts:
            host = self.hosts.get(host_id)
            if host is not None and host.outbox is not None:
                host.outbox.release(gather.number)
        self.on_stored(gather)
        while len(self._closed) > self.spec.retain_most:
            self._forget(next(iter(self._closed)))

    def _forget(self, number: int) -> None:
        self._closed.pop(number, None)
        gather = self._gathers.pop(number)
        self.to_store.pop(number, None)
        if self._by_trace.get(gather.trace_id) is gather:
            del self._by_trace[gather.trace_id]
        for fire_id in gather.fires:
            self._fires.pop(fire_id, None)

    # ---- time ----------------------------------------------------------------------------------------------

    def _check_at(self, gather: Gather, at_s: float) -> None:
        gather.check_s = at_s
        heapq.heappush(self._checks, (at_s, gather.number))

    def next_tick_s(self) -> float | None:
        """When `tick` has something to do, monotonic; None: not before something else happens."""
        times = []
        if self._checks:
            times.append(self._checks[0][0])
        if self._closed:
            times.append(next(iter(self._closed.values())) + self.spec.retain_s)
        if self._open or self.admission.capacity is not None:
            times.append(self._controlled_s + CONTROL_S)
        if self.admission.due_s is not None:
            times.append(self.admission.due_s)
        return min(times, default=None)

    def tick(self) -> None:
        """Do what is due."""
        now = self.clock.mono_s()
        while self._checks and self._checks[0][0] <= now:
            at_s, number = heapq.heappop(self._checks)
            gather = self._gathers.get(number)
            if gather is not None and not gather.closed and gather.check_s == at_s:
                self._check(gather, now)
        for number in list(islice(self._closed, 256)):
            if self._closed[number] + self.spec.retain_s > now:
                break
            self._forget(number)
        if self.admission.due_s is not None and self.admission.due_s <= now:
            self._choose(now)
        if now - self._controlled_s >= CONTROL_S:
            self._controlled_s = now
            self.admission.control(now, self.lag_s(now), len(self._open))

    def lag_s(self, now: float) -> float:
        """How long the oldest gather has been waiting for a daemon that works; 0 for a few gathers.

        A collector that is away is no sign of overload: what it missed is stored when it is back.
        """
        if self.collector_away or len(self._lagging) < LAGGING_LEAST:
            return 0.0
        return now - next(iter(self._lagging.values()))

    def _check(self, gather: Gather, now: float) -> None:
        """A gather's time is over, unless it was given more since."""
        patience = self.spec.patience
        waiting = verdict.waits_for(gather, self.hosts, now)
        if waiting is Waiting.NOTHING:
            late = gather.concluded_s + patience.peers_s < now and not self.collector_away
            if gather.needs and gather.stored_version != gather.version and late:
                # The collector does not get what was promised.
                for part in gather.parts.values():
                    part.upto = 0
                waiting = Waiting.PEERS
            else:
                self._review(gather, now)
        elif waiting is Waiting.TRACE:
            self._lagging.pop(gather.number, None)
        limit_s = patience.peers_s if waiting is Waiting.PEERS else patience.limit_s
        if waiting is not Waiting.NOTHING and now >= gather.progress_s + limit_s:
            watched_s = now - gather.progress_s
            crowded = len(self._open) > self.spec.admission.in_flight_most // 2
            given_up = watched_s >= patience.watch_s or (waiting is Waiting.TRACE and crowded)
            broken = gather.needs and gather.stored_version != gather.version
            if gather.conclusion is None or given_up or broken:
                self._conclude(gather, now, settled=given_up)
        if not gather.closed:
            self._check_at(gather, max(gather.progress_s + patience.limit_s, now + RECHECK_S))

    @property
    def in_flight(self) -> int:
        return len(self._open)

    def store_again(self, number: int, version: int) -> None:
        """A conclusion was sent but not acknowledged."""
        gather = self._gathers.get(number)
        if gather is not None and gather.conclusion is not None and gather.version == version:
            self.to_store.setdefault(number, ToStore(version, gather.conclusion, gather.needs))


def _name_of(fire: pb.Fire) -> str:
    return clip(fire.trigger)[:63] or "?"
