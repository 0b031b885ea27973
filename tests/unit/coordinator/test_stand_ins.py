"""Hosts that die, and others that read in the pool what those had flushed: see simulated.py."""

from __future__ import annotations

import inspect
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.coordinator.doubles import AttachedDouble, HostDouble, SegmentDouble, piece_of
from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.situations import TRACE, part, send, visit
from tests.unit.coordinator.test_protocol import SCHEDULES, Request
from wbpf.agent.stand_in import Findings, StandIn
from wbpf.records import Piece, Status
from wbpf.wire import gather_pb2 as pb

POOL = {"a": 7, "b": 7, "c": 7}


class RecoveredDouble(AttachedDouble):
    """A host's segment as another one reads it from the pool: what had been flushed, by nobody who lives."""

    def __init__(self, segment: SegmentDouble) -> None:
        super().__init__(segment)
        self.is_recovered = True
        host = segment.host
        facts = {"host": host.name, "host_id": host.host_id, "incarnation": host.incarnation}
        names = ("segment_id", "service", "ticks_hz", "clock_kind")
        self.segment: Any = SimpleNamespace(**facts, **{name: getattr(segment, name) for name in names})

    def process(self, index: int, now_s: float) -> tuple[int, int, str, bool]:
        return 1, 1000 + index, "app", False


class PooledHost(HostDouble):
    """A host that flushes to a pool, if it is in one."""

    def __init__(self, cluster: PoolCluster, name: str, skew_ns: int) -> None:
        super().__init__(cluster, name, skew_ns)
        self.pool_id = cluster.pool_ids.get(name, 0)
        self.flushed = 0  # records that are in the pool
        self.flushed_unix_ns = 0
        self.flushed_incarnation = 1
        self.alive = True

    def start_agent(self) -> None:
        super().start_agent()
        assert self.agent is not None
        self.agent._host.pool_id = self.pool_id
        self.agent.stand_in = self.stand_in

    def connect(self) -> None:
        assert self.agent is not None
        self.agent.pool_hosts = [h.host_id for h in self.cluster.hosts.values() if getattr(h, "pool_id", 0)]
        super().connect()

    def flush(self) -> None:
        """All that is in the segment now is in the pool, too."""
        self.flushed, self.flushed_unix_ns = len(self.segment.log), self.unix_ns()

    def die(self) -> None:
        """The whole host: nothing can be read in its own memory any more."""
        self.kill_agent()
        self.alive = False
        self.segment.dead.update(record.process for record in self.segment.log)

    def stand_in(self, collects: list[pb.Collect]) -> None:
        """What the agent does, with a list for the pool's memory."""
        assert self.agent is not None
        for collect in collects:
            (gone,) = (host for host in self.cluster.hosts.values() if host.host_id == collect.host_id)
            assert isinstance(gone, PooledHost)
            attached: Any = RecoveredDouble(gone.segment)
            told = pb.Recovered(
                host_id=gone.host_id,
                incarnation=gone.flushed_incarnation,
                flushed_unix_ns=gone.flushed_unix_ns,
                alive=gone.alive,
            )
            log = enumerate(gone.segment.log[: gone.flushed])
            pieces = [(attached, piece_of(unit, r)) for unit, r in log if r.trace_id == collect.trace_id]
            found = Findings(told, {collect.trace_id: pieces})
            session, now = self.agent.watching.session, self.cluster.mono_s()
            standing = StandIn(collect.trace_id, collect.gather, session, now, found)
            for parcel in standing.pieces(now):
                self.agent.delivery.put(standing, *parcel)
            self.agent.stood_in(standing)


class PoolCluster(Cluster):
    """Hosts of a pool: {name: id of its pool}."""

    def __init__(self, rng: random.Random, pool_ids: dict[str, int]) -> None:
        self.pool_ids = pool_ids
        super().__init__("abc", rng, make_host=PooledHost)  # type: ignore[arg-type]
        for host in self.hosts.values():
            host.connect()
        self.settle(0.1)

    def take_piece(self, host: HostDouble, piece: Piece) -> None:
        (owner,) = (h for h in self.hosts.values() if h.segment.segment_id == piece.segment_id)
        super().take_piece(owner, piece)

    def three(self) -> tuple[PooledHost, PooledHost, PooledHost]:
        a, b, c = self.hosts.values()
        assert isinstance(a, PooledHost) and isinstance(b, PooledHost) and isinstance(c, PooledHost)
        return a, b, c


@pytest.fixture
def cluster() -> PoolCluster:
    return PoolCluster(random.Random(1), POOL)


def request(cluster: PoolCluster) -> int:
    """From a to b to c; returns when it began."""
    a, b, c = cluster.three()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    send(b, TRACE, 12, c)
    visit(c, TRACE, 3, 12, b)
    return start


def found_of(cluster: PoolCluster, host: HostDouble) -> set[tuple[str, int]]:
    return {item for item in cluster.pieces.get(TRACE, set()) if item[0] == host.name}


def test_a_survivor_tells_what_was_flushed(cluster: PoolCluster) -> None:
    a, b, _ = cluster.three()
    start = request(cluster)
    b.flush()
    b.die()
    cluster.fire(a, TRACE, start)
    cluster.settle(1)  # nobody need be waited for: no process of b lives
    stored = cluster.stored[TRACE]
    assert [item.status for item in stored.hosts] == [Status.COMPLETE, Status.PARTIAL, Status.COMPLETE]
    (reason,) = part(stored, "b").reasons
    assert reason.startswith("host b died at ") and "; read from the pool by " in reason
    assert part(stored, "b").records == len(found_of(cluster, b)) == 4


def test_what_was_not_flushed_is_missing_and_others_are_asked(cluster: PoolCluster) -> None:
    a, b, c = cluster.three()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    b.flush()
    send(b, TRACE, 12, c)
    visit(c, TRACE, 3, 12, b)
    b.die()
    cluster.fire(a, TRACE, start)
    cluster.settle(4)
    stored = cluster.stored[TRACE]
    assert part(stored, "b").status is Status.PARTIAL and part(stored, "b").records == 3
    assert found_of(cluster, c), "b's breadcrumb to c is lost, so everybody was asked"


@pytest.mark.parametrize("pool_ids", [{"a": 7, "c": 7}, {"a": 7, "b": 8, "c": 7}, {"b": 7}])
def test_who_shares_no_pool_is_not_asked(pool_ids: dict[str, int]) -> None:
    cluster = PoolCluster(random.Random(1), pool_ids)
    a, b, _ = cluster.three()
    start = request(cluster)
    b.flush()
    b.die()
    cluster.fire(a, TRACE, start)
    cluster.settle(4)
    assert "its agent disconnected" in part(cluster.stored[TRACE], "b").reasons[0]
    assert not found_of(cluster, b)


def test_an_agent_that_comes_back_knows_more(cluster: PoolCluster) -> None:
    a, b, _ = cluster.three()
    visit(b, TRACE, 9)
    b.flush()
    start = request(cluster)
    b.kill_agent()
    cluster.fire(a, TRACE, start)
    cluster.settle(4)
    assert part(cluster.stored[TRACE], "b").reasons[0].startswith("its agent disconnected at ")
    assert "flushed up to" in part(cluster.stored[TRACE], "b").reasons[0]
    b.start_agent()
    b.connect()
    cluster.settle(1)
    assert cluster.stored[TRACE].status is Status.COMPLETE
    assert part(cluster.stored[TRACE], "b").records == 6


def test_another_life_of_the_host_knows_nothing_of_it(cluster: PoolCluster) -> None:
    a, b, _ = cluster.three()
    start = request(cluster)
    b.flush()
    b.die()
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    b.incarnation, b.alive = 2, True
    b.segment.recycled = len(b.segment.log)  # gone with the memory
    b.start_agent()
    b.connect()
    cluster.settle(4)
    assert cluster.stored[TRACE].status is Status.PARTIAL
    assert part(cluster.stored[TRACE], "b").records == 4


def test_who_stands_in_may_die_too(cluster: PoolCluster) -> None:
    a, b, _ = cluster.three()
    start = request(cluster)
    b.flush()
    b.die()
    asked: list[pb.Collect] = []
    assert a.agent is not None
    a.agent.stand_in = asked.extend  # and never answers
    cluster.fire(a, TRACE, start)
    cluster.settle(0.5)
    assert [one.host_id for one in asked] == [b.host_id]
    a.die()
    cluster.settle(4)
    stored = cluster.stored[TRACE]
    assert part(stored, "a").status is Status.COMPLETE, "it had told all, and delivered it"
    assert "read from the pool by c" in part(stored, "b").reasons[0]
    assert part(stored, "b").records == 4


def test_an_answer_that_nobody_asked_for_changes_nothing(cluster: PoolCluster) -> None:
    a, b, c = cluster.three()
    start = request(cluster)
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    before = cluster.stored[TRACE]
    assert c.host is not None
    lie = pb.Found(gather=1, records=99, recovered=pb.Recovered(host_id=b.host_id, flushed_unix_ns=1))
    cluster.coordination.found(c.host, lie)
    cluster.settle(1)
    assert cluster.stored[TRACE] == before and before.status is Status.COMPLETE


class MortalRequest(Request):
    """A request through hosts that may die; what it did there ends then."""

    def _any(self) -> HostDouble:
        alive = [host for host in self.cluster.hosts.values() if isinstance(host, PooledHost) and host.alive]
        return self.cluster.rng.choice(alive)

    def bury(self) -> None:
        """Forget visits to hosts that are dead."""
        self.running = [visit for visit in self.running if inspect.getgeneratorlocals(visit)["host"].alive]


@given(st.integers(0, 1 << 32))
@SCHEDULES
def test_never_complete_without_a_record(seed: int) -> None:
    """Hosts flush, die and come back in any order; the cluster checks each conclusion."""
    rng = random.Random(seed)
    cluster = PoolCluster(rng, POOL)
    hosts = cluster.three()
    requests = [MortalRequest(cluster, number) for number in (1, 2)]
    for _ in range(300):
        host = rng.choice(hosts)
        chance = rng.random()
        if chance < 0.02 and host.alive and sum(one.alive for one in hosts) > 1:
            host.die()
            for request in requests:
                request.bury()
        elif chance < 0.04 and host.alive:
            host.kill_agent()
        elif chance < 0.08 and host.alive and host.agent is None:
            host.start_agent()
            host.connect()
        elif chance < 0.2 and host.alive:
            host.flush()
        elif chance < 0.5:
            rng.choice(requests).step()
        elif chance < 0.6:
            cluster.pass_time(rng.random() / 4)
        else:
            cluster.something()
    for request in requests:
        if not request.fired:
            request.fire(next(host for host in hosts if host.alive))
    cluster.settle(5)
