"""Single situations, each played through with the real agents' logic: see simulated.py."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.situations import LATERAL, OTHER, TRACE, connected, send, visit
from wbpf.coordinator import AdmissionSpec, CoordinatorSpec, Patience
from wbpf.records import Status
from wbpf.records.layout import Kind
from wbpf.wire.validate import Malformed


def test_a_trace_over_three_hosts_is_followed_up_and_down(cluster: Cluster) -> None:
    a, b, c = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    send(b, TRACE, 12, None)
    visit(c, TRACE, 3, 12, b)
    cluster.fire(c, TRACE, start)
    cluster.settle(1)
    stored = cluster.stored[TRACE]
    assert [item.name for item in stored.hosts] == ["a", "b", "c"]
    assert stored.status is Status.COMPLETE
    assert (stored.trigger_name, stored.trigger_value, stored.trigger_host) == ("slow", 1.5, "c")
    assert stored.group_id == b""
    fired = cluster.unix_ns() - 2_000_000_000 < stored.fired_unix_ns < cluster.unix_ns()
    assert fired, "the trigger's time is on the coordinator's clock"


def test_laterals_share_the_group_and_its_fate(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    visit(a, LATERAL, 5)
    visit(b, OTHER, 6)
    start = visit(a, TRACE, 1)
    cluster.fire(a, TRACE, start, [LATERAL])
    cluster.fire(a, TRACE, start, [OTHER])
    cluster.settle(1)
    assert [cluster.stored[t].status for t in (TRACE, LATERAL, OTHER)] == [Status.COMPLETE] * 3
    assert {cluster.stored[t].group_id for t in (TRACE, LATERAL, OTHER)} == {TRACE}
    assert list(cluster.stored[TRACE].laterals) == [LATERAL, OTHER]
    assert [p.name for p in cluster.stored[OTHER].hosts if p.records] == ["b"], "found where it was"
    assert not a.segment.slots


def test_the_same_trigger_told_again_is_settled_again_without_work(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, visit(a, TRACE, 1))
    fires = []
    host = a.host
    assert a.agent is not None and host is not None and a.outbox is not None
    a.agent.rung()
    for message in a.agent.messages():
        fires += message.fires.fires
        a.up.append(message)
    cluster.settle(1)
    before = cluster.coordination.endings.counts.copy()
    for _ in range(50):
        cluster.coordination.firing.fire(host, fires[0])
    (answer,) = a.outbox.drain()
    assert list(answer.releases.fires) == [fires[0].fire_id]
    assert cluster.coordination.endings.counts == before
    assert cluster.coordination.in_flight == 0


def test_a_second_trigger_of_a_trace_joins_the_gather(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    cluster.fire(a, TRACE, start)
    cluster.fire(b, TRACE, start)
    cluster.settle(1)
    assert cluster.coordination.endings.counts["complete"] == 1
    cluster.settle(1)
    cluster.write(a, TRACE, Kind.EVENT)
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    assert cluster.coordination.endings.counts["complete"] == 1
    assert cluster.pieces[TRACE] == cluster.truth(TRACE)
    assert not a.segment.slots and not b.segment.slots


def test_a_dump_asks_every_host(cluster: Cluster) -> None:
    visit(cluster.hosts["b"], TRACE, 1)
    (gather,) = cluster.coordination.dump([TRACE])
    cluster.settle(1)
    assert not gather.pending
    assert cluster.stored[TRACE].trigger_name == "dump"
    assert [(p.name, p.status) for p in cluster.stored[TRACE].hosts] == [("b", Status.COMPLETE)]


def test_reduce_reaches_every_host_also_a_later_one(cluster: Cluster) -> None:
    a, b, c = cluster.hosts.values()
    c.disconnect()
    assert cluster.coordination.levels.change(TRACE, 13) == ["a", "b"]
    cluster.coordination.levels.change(b"", 17, cluster.coordination.hosts.get(b.host_id))
    cluster.settle(0.1)
    assert a.segment.levels == b.segment.levels == {TRACE: 13}
    assert (a.segment.level, b.segment.level) == (0, 17)
    c.connect()
    cluster.settle(0.1)
    assert c.segment.levels == {TRACE: 13}
    cluster.coordination.levels.change(TRACE, 0)
    cluster.settle(0.1)
    assert c.segment.levels == {TRACE: 0}
    with pytest.raises(Malformed):
        cluster.coordination.levels.change(TRACE, 256)


def test_clears_go_to_the_other_hosts(cluster: Cluster) -> None:
    a, b, c = cluster.hosts.values()
    assert cluster.coordination.clear([TRACE, OTHER], a.host) == ["b", "c"]
    cluster.settle(0.1)
    assert a.segment.cleared == []
    assert b.segment.cleared == c.segment.cleared == [TRACE, OTHER]


def test_beyond_the_limit_whole_groups_are_refused() -> None:
    cluster = connected("ab", CoordinatorSpec(admission=AdmissionSpec(in_flight_most=3, lag_s=1e9)))
    a = cluster.hosts["a"]
    ids = [bytes([100 + n]) * 16 for n in range(6)]
    for trace_id in ids:
        cluster.fire(a, trace_id, visit(a, trace_id, 1, end=False))
    cluster.settle(0.2)
    assert cluster.coordination.in_flight == 3
    assert cluster.coordination.firing.refused == 3
    for trace_id in ids:
        cluster.write(a, trace_id, Kind.END)
    cluster.settle(1)
    assert len(cluster.stored) == 3
    assert set(cluster.pieces) == set(cluster.stored), "nothing is shipped of those that were refused"
    assert not a.segment.slots


def test_a_running_trace_makes_room_when_there_are_many() -> None:
    patience = Patience(limit_s=0.5, watch_s=60)
    cluster = connected("a", CoordinatorSpec(patience=patience, admission=AdmissionSpec(4, lag_s=1e9)))
    a = cluster.hosts["a"]
    for n in range(4):
        cluster.fire(a, bytes([100 + n]) * 16, visit(a, bytes([100 + n]) * 16, 1, end=False))
    cluster.settle(3)
    assert cluster.coordination.in_flight <= 2
    assert len(cluster.stored) == 4


def test_hosts_that_usually_take_part_are_asked_at_once(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    cluster.fire(a, OTHER, visit(a, OTHER, 3))
    assert a.agent is not None
    a.agent.rung()
    while cluster.agent_speaks(a) or cluster.coordinator_hears(a):
        pass
    assert b.outbox is not None
    (message,) = b.outbox.drain()
    assert [collect.trace_id for collect in message.collects.collects] == [OTHER]
    b.down.append(message)
    cluster.settle(1)
    assert [p.name for p in cluster.stored[OTHER].hosts] == ["a"], "who was asked in vain has no part in it"
