"""The protocol as a whole, under random schedules, kills and losses: see simulated.py."""

from __future__ import annotations

import random
from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from wbpf.records import Status
from wbpf.records.layout import Direction, Kind

SCHEDULES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Request:
    """A trace that runs through hosts: each visit is a generator that writes one record at a time."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.trace_id = number.to_bytes(16, "big")
        self.start_unix_ns = 0
        self.fired = False
        self._next_id = number << 20
        self.running: list[Iterator[None]] = [self._visit(self._any(), None, 0, 0)]

    def _any(self) -> HostDouble:
        return self.cluster.rng.choice(list(self.cluster.hosts.values()))

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _visit(self, host: HostDouble, sender: HostDouble | None, edge: int, depth: int) -> Iterator[None]:
        cluster, rng = self.cluster, self.cluster.rng
        self.start_unix_ns = self.start_unix_ns or host.unix_ns()
        cluster.write(host, self.trace_id, Kind.BEGIN, self._id(), edge, self.start_unix_ns)
        yield
        if edge:
            crumb = cluster.crumb(Direction.IN, sender, edge)
            cluster.write(host, self.trace_id, Kind.BREADCRUMB, crumb=crumb)
            yield
        for _ in range(rng.randrange(4)):
            what = rng.random()
            if what < 0.4 and depth < 3:
                peer, sent = self._any(), self._id()
                named = peer if rng.random() < 0.8 else None
                crumb = cluster.crumb(Direction.OUT, named, sent)
                cluster.write(host, self.trace_id, Kind.BREADCRUMB, crumb=crumb)
                self.running.append(self._visit(peer, host, sent, depth + 1))
            elif what < 0.6:
                self.fire(host)
            else:
                cluster.write(host, self.trace_id, Kind.EVENT)
            yield
        cluster.write(host, self.trace_id, Kind.END)
        yield

    def fire(self, host: HostDouble) -> None:
        self.fired = True
        self.cluster.fire(host, self.trace_id, self.start_unix_ns)

    def step(self) -> None:
        if self.running:
            visit = self.cluster.rng.choice(self.running)
            if next(visit, self) is self:
                self.running.remove(visit)


def run(cluster: Cluster, requests: list[Request], steps: int, faults: float, losses: float) -> None:
    """Interleave requests, messages and faults."""
    rng = cluster.rng
    for _ in range(steps):
        chance = rng.random()
        host = rng.choice(list(cluster.hosts.values()))
        if chance < faults:
            fault = rng.randrange(5)
            if fault == 0:
                host.kill_agent()
            elif fault == 1:
                cluster.start_coordinator()
            elif fault == 2:
                host.disconnect()
            elif host.agent is not None:
                host.connect_collector()
        elif chance < faults + losses:
            host.segment.recycle()
        elif chance < 0.3:
            rng.choice(requests).step()
        elif chance < 0.35:
            cluster.pass_time(rng.choice((0.0001, 0.01, 0.3)))
        elif chance < 0.4:
            if host.agent is None:
                host.start_agent()
            elif host.host is None:
                host.connect()
        else:
            cluster.something()


def finish(cluster: Cluster, requests: list[Request]) -> None:
    """The requests end, all daemons run, and time passes."""
    for request in requests:
        while request.running:
            request.step()
    for host in cluster.hosts.values():
        if host.agent is None:
            host.start_agent()
        if host.host is None:
            host.connect()
    cluster.settle(5)


def nothing_is_left(cluster: Cluster) -> None:
    assert cluster.coordination.in_flight == 0
    assert not cluster.coordination.endings.to_store
    for host in cluster.hosts.values():
        assert not host.segment.slots, "a trigger was not settled"
        assert host.agent is not None
        assert len(host.agent.watching) == 0
        assert len(host.agent.delivery) == 0


@SCHEDULES
@given(st.integers(0, 2**32))
def test_without_faults_every_triggered_trace_is_stored_complete(seed: int) -> None:
    cluster = Cluster("abcd", random.Random(seed))
    for host in cluster.hosts.values():
        host.connect()
    cluster.settle(0.1)
    requests = [Request(cluster, number + 1) for number in range(3)]
    run(cluster, requests, 400, 0.0, 0.0)
    finish(cluster, requests)
    nothing_is_left(cluster)
    for request in requests:
        if request.fired:
            conclusion = cluster.stored[request.trace_id]
            assert conclusion.status is Status.COMPLETE, [part.reasons for part in conclusion.hosts]
            assert conclusion.trigger_name == "slow"
        else:
            assert request.trace_id not in cluster.stored
            assert request.trace_id not in cluster.pieces


@SCHEDULES
@given(st.integers(0, 2**32))
def test_killed_daemons_lose_nothing_and_invent_nothing(seed: int) -> None:
    cluster = Cluster("abc", random.Random(seed))
    requests = [Request(cluster, number + 1) for number in range(3)]
    run(cluster, requests, 600, 0.03, 0.0)
    finish(cluster, requests)
    nothing_is_left(cluster)
    for request in requests:
        if request.fired:
            conclusion = cluster.stored[request.trace_id]
            assert conclusion.status is Status.COMPLETE, [part.reasons for part in conclusion.hosts]
            assert cluster.pieces[request.trace_id] == cluster.truth(request.trace_id)


@SCHEDULES
@given(st.integers(0, 2**32))
def test_a_trace_with_recycled_records_is_never_called_complete(seed: int) -> None:
    # Cluster.check looks at every conclusion.
    cluster = Cluster("abc", random.Random(seed))
    requests = [Request(cluster, number + 1) for number in range(4)]
    run(cluster, requests, 600, 0.01, 0.02)
    finish(cluster, requests)
    cluster.settle(32)  # as long as a trace is watched that seems not to end
    nothing_is_left(cluster)
    for request in requests:
        assert request.fired == (request.trace_id in cluster.stored)
