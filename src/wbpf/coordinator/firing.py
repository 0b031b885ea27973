"""Triggers: held or served, their traces and laterals gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wbpf.coordinator.admission import Admission, Candidate
from wbpf.coordinator.clock import Clock
from wbpf.coordinator.endings import Endings
from wbpf.coordinator.forecast import Forecast
from wbpf.coordinator.gather import LATERALS_MOST, Gather, Group, TriggerFacts
from wbpf.coordinator.gathers import Gathers
from wbpf.coordinator.hosts import Host, Hosts
from wbpf.coordinator.offset import TIME_MOST_NS
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import clip, split_ids, validate_trace_id

#: What a name may weigh; one that claims something else weighs 1.
WEIGHT_LEAST, WEIGHT_MOST = 1e-3, 1e6


class Firing:
    """What becomes of triggers.

    Args:
        clock: time.
        hosts, gathers, endings: all of them.
        admission: says which are served.
        forecast: says whom to ask at once.
    """

    def __init__(
        self,
        clock: Clock,
        hosts: Hosts,
        gathers: Gathers,
        endings: Endings,
        admission: Admission,
        forecast: Forecast,
    ) -> None:
        self._clock = clock
        self._hosts = hosts
        self._gathers = gathers
        self._endings = endings
        self._admission = admission
        self._forecast = forecast
        self.refused = 0
        self.on_held: Callable[[], None] = lambda: None

    def fire(self, host: Host, fire: pb.Fire) -> None:
        """A trigger fired, or is told again.

        Raises:
            Malformed: the message can't be right.
        """
        assert host.outbox is not None
        trace_id = validate_trace_id(fire.trace_id)
        laterals = split_ids(fire.laterals, LATERALS_MOST)
        if fire.fire_id in self._gathers.settled:
            host.outbox.settle(fire.fire_id)
            return
        if (known := self._gathers.fires.get(fire.fire_id)) is not None:
            known.fires[fire.fire_id] = host.host_id
            host.outbox.admit(fire.fire_id)
            self._gathers.settle_fires(known.group)
            return
        now = self._clock.mono_s()
        if trace_id in self._gathers.by_trace:
            self._take(host, fire, now)
        elif (candidate := self._admission.held.get(trace_id)) is not None:
            candidate.fires[fire.fire_id] = host, fire
        else:
            weight = fire.weight if WEIGHT_LEAST <= fire.weight <= WEIGHT_MOST else 1.0
            fresh = sum(lateral not in self._gathers.by_trace for lateral in laterals)
            fires = {fire.fire_id: (host, fire)}
            self._weigh(Candidate(_name_of(fire), weight, trace_id, 1 + fresh, fires), now)

    def _weigh(self, candidate: Candidate, now: float) -> None:
        if self._admission.admit(candidate, now, len(self._gathers.open)):
            self._admit(candidate, now)
            return
        if not self._admission.held:
            self.on_held()
        refused = self._admission.hold(candidate, now, len(self._gathers.open))
        if refused is not None:
            self._refuse(refused)

    def choose(self, now: float) -> None:
        """Which of the triggers that were held are to be served?"""
        admitted, refused = self._admission.choose(now, len(self._gathers.open))
        for candidate in admitted:
            self._admit(candidate, now)
        for candidate in refused:
            self._refuse(candidate)

    def _admit(self, candidate: Candidate, now: float) -> None:
        for host, fire in candidate.fires.values():
            if host.outbox is not None:  # it tells again when it is back
                self._take(host, fire, now)

    def _refuse(self, candidate: Candidate) -> None:
        self.refused += 1
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
        gather = self._gathers.by_trace.get(trace_id)
        if gather is None:
            gather = self._gathers.start(trace_id, trigger, Group(trace_id), now)
            for likely in self._forecast.likely(trigger.name):
                likely_host = self._hosts.get(likely)
                if likely_host is not None and likely_host.reachable(now):
                    self._gathers.ask(gather, likely, now, named=False, guessed=True)
        else:
            if not gather.trigger.name or not gather.primary:
                gather.trigger, gather.primary = trigger, True
            gather.progress_s = now
            if gather.closed:
                self._gathers.reopen(gather, gather.parts, now)
        gather.fires[fire.fire_id] = host.host_id
        self._gathers.fires[fire.fire_id] = gather
        gather.start_unix_ns = gather.start_unix_ns or fire.start_unix_ns
        self._gathers.ask(gather, host.host_id, now, named=False)
        gather.parts[host.host_id].fired = True
        host.outbox.admit(fire.fire_id)
        self.join(gather, laterals, host.host_id, now)
        if gather.conclusion is not None:
            self._endings.review(gather, now)

    def join(self, gather: Gather, laterals: Iterable[bytes], host_id: int, now: float) -> None:
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
            if trace_id not in self._gathers.by_trace:
                lateral = self._gathers.start(trace_id, gather.trigger, group, now)
                lateral.primary = False
                self._gathers.ask(lateral, host_id, now, named=False)
        if joined:
            self._endings.review(gather, now)


def _name_of(fire: pb.Fire) -> str:
    return clip(fire.trigger)[:63] or "?"
