"""The coordinator's decisions: a state machine driven by messages and a clock, without any I/O of its own.

What goes out is put into the hosts' outboxes and into `endings.to_store`; whoever runs it sends that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from wbpf.coordinator.admission import CONTROL_S, Admission
from wbpf.coordinator.clock import Clock
from wbpf.coordinator.endings import Endings
from wbpf.coordinator.firing import Firing
from wbpf.coordinator.forecast import Forecast
from wbpf.coordinator.gather import Gather, Group, TriggerFacts
from wbpf.coordinator.gathers import Gathers
from wbpf.coordinator.hosts import Host, Hosts
from wbpf.coordinator.levels import Levels
from wbpf.coordinator.outbox import Outbox
from wbpf.coordinator.spec import CoordinatorSpec
from wbpf.errors import WireError
from wbpf.records import Status
from wbpf.wire import PROTOCOL
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed, validate_host, validate_trace_id

WATCHING_MOST = 100_000


class Coordination:
    """Hosts and gathers, and what messages of agents change about them.

    Args:
        spec: limits.
        clock: time.
        session: random, one a start of the coordinator.
        wake: called when `endings.to_store` got its first entry.
    """

    def __init__(
        self, spec: CoordinatorSpec, clock: Clock, session: int, wake: Callable[[], None] = lambda: None
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.session = session
        self.hosts = Hosts()
        self.levels = Levels(self.hosts)
        self.admission = Admission(spec.admission)
        self.gathers = Gathers(self.hosts, spec.patience.limit_s)
        forecast = Forecast()
        self.endings = Endings(spec, clock, self.hosts, self.gathers, self.admission, forecast, wake)
        self.firing = Firing(clock, self.hosts, self.gathers, self.endings, self.admission, forecast)
        self._controlled_s = 0.0

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
        self.levels.greet(host, host.outbox)
        self._ask_again(host, other_agent, now)
        if host.pool_id:
            self.gathers.cover_all(now)
        for watching in hello.watching:
            self._resume(host, host.outbox, watching, now)
        return host

    def _ask_again(self, host: Host, other_agent: bool, now: float) -> None:
        assert host.outbox is not None
        for gather in self.gathers.open.values():
            part = gather.parts.get(host.host_id)
            if part is not None:
                # What it tells starts again; what another agent had not yet shipped was lost with it.
                part.answered, part.asked_s = False, now
                part.delivered = part.delivered and not other_agent
                host.outbox.collect(gather.number, gather.trace_id)
            elif gather.everyone:
                self.gathers.ask(gather, host.host_id, now, named=False)
        for number in list(self.gathers.closed):
            gather = self.gathers.by_number[number]
            part = gather.parts.get(host.host_id)
            incomplete = gather.conclusion is not None and gather.conclusion.status is not Status.COMPLETE
            if part is None and gather.everyone and incomplete:
                gather.ask(host.host_id, now, named=False)
                self.gathers.reopen(gather, [host.host_id], now)
            elif part is not None and not part.answered:
                self.gathers.reopen(gather, [host.host_id], now)

    def _resume(self, host: Host, outbox: Outbox, watching: pb.Watching, now: float) -> None:
        """An agent watches a trace, perhaps for a coordinator that is gone."""
        trace_id = watching.trace_id
        gather = self.gathers.by_trace.get(trace_id)
        if gather is None and watching.session != self.session:
            trigger = TriggerFacts("", 0.0, host.name, self.clock.unix_ns())
            gather = self.gathers.start(trace_id, trigger, Group(trace_id), now)
        if gather is None or gather.closed:
            outbox.forget(trace_id)
        else:
            self.gathers.ask(gather, host.host_id, now, named=watching.found)

    def detach(self, host: Host, outbox: Outbox) -> None:
        """An agent's stream ended."""
        if host.outbox is outbox:
            host.outbox = None
            host.left_unix_ns = self.clock.unix_ns()
            now = self.clock.mono_s()
            for gather in self.gathers.open.values():
                part = gather.parts.get(host.host_id)
                if part is not None:
                    self.endings.lagging.pop(gather.number, None)
                    if not part.delivered and gather.settled:
                        gather.settled = False
                        self.gathers.check_at(gather, now + self.spec.patience.limit_s)
            self.gathers.cover_all(now)

    def heard(self, host: Host) -> None:
        """Something came from an agent."""
        host.heard_s, host.heard_unix_ns = self.clock.mono_s(), self.clock.unix_ns()

    def pong(self, host: Host, pong: pb.Pong, t3_unix_ns: int) -> None:
        now, first = self.clock.mono_s(), not len(host.clock)
        host.clock.add(now, pong.t0_unix_ns, pong.t1_unix_ns, pong.t2_unix_ns, t3_unix_ns)
        if first:
            for gather in list(self.gathers.open.values()):
                if host.host_id in gather.parts:
                    self.endings.review(gather, now)

    # ---- gathers -------------------------------------------------------------------------------------------

    def dump(self, trace_ids: Iterable[bytes]) -> list[Gather]:
        """Gather traces because a person asks for them: from every host, whatever the load."""
        now = self.clock.mono_s()
        gathers = []
        for trace_id in trace_ids:
            gather = self.gathers.by_trace.get(trace_id)
            if gather is None:
                trigger = TriggerFacts("dump", 0.0, "", self.clock.unix_ns())
                gather = self.gathers.start(trace_id, trigger, Group(trace_id), now)
            elif gather.closed:
                gather.progress_s = now
                self.gathers.reopen(gather, gather.parts, now)
            self.gathers.ask_everyone(gather, now)
            self.endings.review(gather, now)
            gathers.append(gather)
        return gathers

    def clear(self, trace_ids: list[bytes], source: Host | None = None) -> list[str]:
        """Tell the other hosts that these traces are known to be good; returns who was told."""
        told = []
        for host in self.hosts.attached():
            if host is not source and host.outbox is not None:
                host.outbox.clear(trace_ids)
                told.append(host.name)
        return told

    def found(self, host: Host, found: pb.Found) -> None:
        """A host tells what it has of a trace.

        Raises:
            Malformed: the message can't be right.
        """
        of_other = found.HasField("recovered")
        gather = self.gathers.by_number.get(found.gather)
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
            self.gathers.reopen(gather, [], now)
            assert host.outbox is not None
            if not of_other:
                host.outbox.collect(gather.number, gather.trace_id)
        for peer in named:
            self.gathers.ask(gather, peer, now, named=True)
        if nameless or (of_other and part.named):  # what was not flushed may have led on
            self.gathers.ask_everyone(gather, now)
        if gather.primary:
            self.firing.join(gather, laterals, host.host_id, now)
        self.endings.review(gather, now)

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
            gather = self.gathers.by_number.get(number)
            part = gather.parts.get(host.host_id) if gather is not None else None
            if gather is None or part is None:
                raise Malformed(f"gather {number}, about which {host.name} was not asked")
            if not part.delivered:
                part.delivered = True
                self.endings.review(gather, now)

    # ---- time ----------------------------------------------------------------------------------------------

    def next_tick_s(self) -> float | None:
        """When `tick` has something to do, monotonic; None: not before something else happens."""
        times = []
        if self.gathers.next_check_s is not None:
            times.append(self.gathers.next_check_s)
        if self.gathers.closed:
            times.append(next(iter(self.gathers.closed.values())) + self.spec.retain_s)
        if self.gathers.open or self.admission.capacity is not None:
            times.append(self._controlled_s + CONTROL_S)
        if self.admission.due_s is not None:
            times.append(self.admission.due_s)
        return min(times, default=None)

    def tick(self) -> None:
        """Do what is due."""
        now = self.clock.mono_s()
        for gather in self.gathers.due(now):
            self.endings.check(gather, now)
        for number in list(islice(self.gathers.closed, 256)):
            if self.gathers.closed[number] + self.spec.retain_s > now:
                break
            self.endings.forget(number)
        if self.admission.due_s is not None and self.admission.due_s <= now:
            self.firing.choose(now)
        if now - self._controlled_s >= CONTROL_S:
            self._controlled_s = now
            self.admission.control(now, self.endings.lag_s(now), self.in_flight)

    @property
    def in_flight(self) -> int:
        """Gathers that are open."""
        return len(self.gathers.open)
