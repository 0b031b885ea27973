"""Single situations, each played through with the real agents' logic: see simulated.py."""

from __future__ import annotations

import random

import pytest

from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from wbpf.coordinator import AdmissionSpec, CoordinatorSpec, Patience
from wbpf.coordinator.offset import OffsetEstimate
from wbpf.errors import WireError
from wbpf.records import Conclusion, HostPart, Status
from wbpf.records.layout import Direction, Kind
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed

TRACE, LATERAL, OTHER, THIRD = (bytes([n]) * 16 for n in (1, 2, 3, 4))


@pytest.fixture
def cluster() -> Cluster:
    return connected("abc")


def connected(names: str, spec: CoordinatorSpec | None = None) -> Cluster:
    made = Cluster(names, random.Random(1), spec)
    for host in made.hosts.values():
        host.connect()
    made.settle(0.1)
    return made


def visit(
    host: HostDouble,
    trace_id: bytes,
    span: int,
    edge: int = 0,
    sender: HostDouble | None = None,
    end: bool = True,
) -> int:
    """A host takes part in a trace; returns when the trace began."""
    cluster, start = host.cluster, host.unix_ns()
    cluster.write(host, trace_id, Kind.BEGIN, span, edge, start)
    if edge:
        cluster.write(host, trace_id, Kind.BREADCRUMB, crumb=cluster.crumb(Direction.IN, sender, edge))
    if end:
        cluster.write(host, trace_id, Kind.END)
    return start


def send(host: HostDouble, trace_id: bytes, edge: int, peer: HostDouble | None) -> None:
    cluster = host.cluster
    cluster.write(host, trace_id, Kind.BREADCRUMB, crumb=cluster.crumb(Direction.OUT, peer, edge))


def part(conclusion: Conclusion, name: str) -> HostPart:
    (found,) = (item for item in conclusion.hosts if item.name == name)
    return found


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


def test_a_trace_that_still_runs_is_watched_until_its_end(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    start = visit(a, TRACE, 1, end=False)
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    assert TRACE not in cluster.stored
    cluster.write(a, TRACE, Kind.EVENT)
    cluster.write(a, TRACE, Kind.END)
    cluster.settle(0.5)
    assert cluster.stored[TRACE].status is Status.COMPLETE
    assert cluster.pieces[TRACE] == cluster.truth(TRACE)


def test_at_the_limit_it_says_what_is_missing_and_later_that_nothing_is(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1, end=False)
    send(a, TRACE, 11, b)
    cluster.fire(a, TRACE, start)
    cluster.settle(3)
    stored = part(cluster.stored[TRACE], "a")
    assert stored.status is Status.PARTIAL
    assert list(stored.reasons) == ["1 span has not ended within 2 s", "breadcrumb to b not answered"]
    assert a.segment.slots == {}, "the trigger is settled once something is stored"
    visit(b, TRACE, 2, 11, a)
    cluster.write(a, TRACE, Kind.END)
    cluster.settle(1)
    assert cluster.stored[TRACE].status is Status.COMPLETE


def test_a_watch_ends(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.settle(35)
    assert cluster.stored[TRACE].status is Status.PARTIAL
    assert cluster.coordination.in_flight == 0
    assert a.agent is not None
    assert len(a.agent.watching) == 0


def test_a_dead_process_is_not_waited_for(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.settle(0.3)
    a.segment.dead.add(0)
    cluster.settle(0.5)
    assert list(part(cluster.stored[TRACE], "a").reasons) == ["process 1000 died inside a span"]
    assert cluster.coordination.in_flight == 0


def test_a_dead_host_is_named_and_gathered_from_when_it_is_back(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    b.kill_agent()
    cluster.fire(a, TRACE, start)
    cluster.settle(3)
    stored = cluster.stored[TRACE]
    assert list(part(stored, "a").reasons) == ["breadcrumb to b not answered"]
    (reason,) = part(stored, "b").reasons
    assert reason.startswith("its agent disconnected at ")
    b.start_agent()
    b.connect()
    cluster.settle(1)
    assert cluster.stored[TRACE].status is Status.COMPLETE
    assert cluster.pieces[TRACE] == cluster.truth(TRACE)


def test_a_silent_agent_is_as_good_as_gone(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    host = b.host
    assert host is not None
    b.host = None  # its messages come no more, but the stream stands
    cluster.settle(4)
    cluster.fire(a, TRACE, start)
    cluster.settle(3)
    (reason,) = part(cluster.stored[TRACE], "b").reasons
    assert reason.startswith("its agent did not answer within 2.")


def test_a_host_that_was_never_there_is_named_by_its_id(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    start = visit(a, TRACE, 1)
    cluster.write(a, TRACE, Kind.BREADCRUMB, crumb=(Direction.OUT, 0xABCDEF, 11))
    cluster.fire(a, TRACE, start)
    cluster.settle(3)
    stored = cluster.stored[TRACE]
    assert list(part(stored, "host-0000000000abcdef").reasons) == ["no agent of this host has ever attached"]
    assert list(part(stored, "a").reasons) == ["breadcrumb to host-0000000000abcdef not answered"]


def test_what_was_recycled_after_the_start_makes_it_unknown(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    visit(b, OTHER, 9)
    b.segment.recycle()
    cluster.pass_time(1)
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    assert cluster.stored[TRACE].status is Status.COMPLETE, "recycled before the trace began"
    send(a, OTHER, 12, b)
    late = visit(a, OTHER, 3)
    visit(b, OTHER, 4, 12, a)
    cluster.pass_time(1)
    b.segment.recycle()
    visit(b, OTHER, 5, 12, a)
    cluster.fire(a, OTHER, late)
    cluster.settle(1)
    stored = part(cluster.stored[OTHER], "b")
    assert stored.status is Status.UNKNOWN
    (reason,) = stored.reasons
    assert "may have been recycled" in reason


def test_what_was_read_before_it_was_recycled_counts(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.settle(0.5)
    a.segment.recycle()
    cluster.write(a, TRACE, Kind.END)
    cluster.settle(0.5)
    assert cluster.stored[TRACE].status is Status.UNKNOWN, (
        "something between the last look and the loss may be gone"
    )
    b = cluster.hosts["b"]
    start = visit(b, OTHER, 1, end=False)
    cluster.fire(b, OTHER, start)
    cluster.settle(0.5)
    b.segment.recycled = len(b.segment.log)
    b.segment.lost_ticks = start  # what was recycled is older than what was read
    cluster.write(b, OTHER, Kind.END)
    cluster.settle(0.5)
    assert cluster.stored[OTHER].status is Status.COMPLETE


def test_clocks_that_differ_do_not_hide_a_loss(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    a.skew_ns, b.skew_ns = 50_000_000, -50_000_000  # by their own clocks the loss is older than the trace
    for host in (a, b):
        host.connect()
    cluster.settle(0.1)
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2)
    cluster.pass_time(0.01)
    b.segment.recycle()
    assert b.segment.lost_ticks < start
    visit(b, TRACE, 3, 11, a)
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    assert part(cluster.stored[TRACE], "b").status is Status.UNKNOWN


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


def test_a_trace_that_is_nowhere_is_said_to_be(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, a.unix_ns())
    cluster.settle(3)
    stored = cluster.stored[TRACE]
    assert stored.status is Status.PARTIAL
    assert "no record of this trace was found on any host" in part(stored, "a").reasons


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


def test_what_comes_after_the_end_still_gets_in(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    cluster.fire(a, TRACE, start)
    cluster.settle(0.05)
    assert cluster.stored[TRACE].status is Status.COMPLETE
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    cluster.settle(1)
    assert [p.name for p in cluster.stored[TRACE].hosts] == ["a", "b"]
    assert cluster.pieces[TRACE] == cluster.truth(TRACE)


def test_a_host_that_has_only_just_come_is_concluded_when_its_clock_is_known(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = cluster.hosts["a"]
    start = visit(a, TRACE, 1)
    monkeypatch.setattr(HostDouble, "ping", lambda host: None)
    a.kill_agent()
    a.start_agent()
    a.connect()
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    assert TRACE not in cluster.stored and a.host is not None
    now, there = cluster.unix_ns(), a.unix_ns()
    cluster.coordination.pong(a.host, pb.Pong(t0_unix_ns=now, t1_unix_ns=there, t2_unix_ns=there), now + 1000)
    cluster.settle(0.1)
    assert cluster.stored[TRACE].status is Status.COMPLETE


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


def test_a_second_agent_for_a_live_host_is_refused(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    assert a.agent is not None
    hello = a.agent.hello()
    hello.agent_id += 1
    with pytest.raises(WireError, match="another agent speaks for host 'a'"):
        cluster.coordination.attach(hello, "elsewhere", lambda: None)
    a.disconnect()
    assert cluster.coordination.attach(hello, "elsewhere", lambda: None).address == "elsewhere"


def test_a_hello_that_lies_is_refused(cluster: Cluster) -> None:
    hello = pb.Hello(protocol=1, host="a", host_id=cluster.hosts["b"].host_id, agent_id=9)
    with pytest.raises(Malformed):
        cluster.coordination.attach(hello, "x", lambda: None)
    hello = pb.Hello(protocol=2, host="z")
    with pytest.raises(WireError, match="speaks protocol 2"):
        cluster.coordination.attach(hello, "x", lambda: None)


def test_an_answer_to_no_question_is_malformed(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.settle(0.2)
    assert a.host is not None and b.host is not None
    for host, found in (
        (b.host, pb.Found(gather=1, records=5)),
        (a.host, pb.Found(gather=99)),
        (a.host, pb.Found(gather=1, laterals=b"short")),
    ):
        with pytest.raises(Malformed):
            cluster.coordination.found(host, found)
    with pytest.raises(Malformed):
        cluster.coordination.delivered(b.host, [1])
    with pytest.raises(Malformed):
        cluster.coordination.firing.fire(a.host, pb.Fire(fire_id=1, trace_id=bytes(16)))


def test_breadcrumbs_beyond_measure_are_not_remembered(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.settle(0.2)
    assert a.host is not None
    many = pb.Found(gather=1, records=1, bytes=1)
    many.sent.add(peer_host_id=a.host_id, edges=range(1, 30_001))
    cluster.coordination.found(a.host, many)
    gather = cluster.coordination.dump([TRACE])[0]
    assert len(gather.edges_sent) == 20_000
    assert gather.overfull


def test_closed_gathers_are_forgotten(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    for n in range(20):
        cluster.fire(a, bytes([50 + n]) * 16, visit(a, bytes([50 + n]) * 16, 1))
        cluster.settle(0.05)
    cluster.settle(70, 1.0)
    assert len(cluster.stored) == 20
    gathers = cluster.coordination.gathers
    assert not gathers.by_number and not gathers.by_trace and not gathers.fires and not gathers.closed


def test_a_host_that_is_asked_at_the_last_moment_is_waited_for(cluster: Cluster) -> None:
    a, _, c = cluster.hosts.values()
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.settle(0.2)
    c.disconnect()
    assert c.agent is not None
    c.agent.welcomed(pb.Welcome(session=99))
    c.agent.handle(pb.ToAgent(collects=pb.Collects(collects=[pb.Collect(gather=1, trace_id=TRACE)])))
    cluster.write(a, TRACE, Kind.END)
    while not cluster.concluding:
        for act in cluster._acts:
            act(a)
        cluster.pass_time(0.01)
        cluster.coordinator_concludes()
    c.connect()  # it watches the trace for a coordinator of another session
    assert cluster.collector_concludes()
    cluster.settle(1)
    assert len(c.agent.watching) == 0
    assert cluster.coordination.in_flight == 0
    assert cluster.stored[TRACE].status is Status.COMPLETE


def test_a_conclusion_does_not_wait_for_acknowledgements_but_is_stored_after_the_pieces(
    cluster: Cluster,
) -> None:
    a = cluster.hosts["a"]
    ships = cluster.agent_ships
    cluster._acts = tuple(act for act in cluster._acts if act != ships)
    cluster.fire(a, TRACE, visit(a, TRACE, 1))
    cluster.settle(0.5)
    assert len(cluster.concluding) == 1 and TRACE not in cluster.stored
    cluster._acts = (*cluster._acts, ships)
    cluster.settle(0.5)
    assert cluster.stored[TRACE].status is Status.COMPLETE
    assert cluster.coordination.in_flight == 0


def test_a_delivery_that_never_comes_is_said_and_forgotten_when_it_does(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    ships = cluster.agent_ships
    cluster._acts = tuple(act for act in cluster._acts if act != ships)
    cluster.fire(a, TRACE, visit(a, TRACE, 1))
    cluster.settle(15, 0.1)
    reasons = list(part(cluster.stored[TRACE], "a").reasons)
    assert reasons == ["its delivery was not acknowledged by the collector"]
    cluster._acts = (*cluster._acts, ships)
    cluster.settle(2)
    assert cluster.stored[TRACE].status is Status.COMPLETE


def test_an_agent_that_dies_before_it_delivered_takes_its_promise_back(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    ships = cluster.agent_ships
    cluster._acts = tuple(act for act in cluster._acts if act != ships)
    cluster.fire(a, TRACE, visit(a, TRACE, 1))
    cluster.settle(0.5)
    a.kill_agent()
    cluster.settle(3)
    assert part(cluster.stored[TRACE], "a").status is Status.PARTIAL
    cluster._acts = (*cluster._acts, ships)
    a.start_agent()
    a.connect()
    cluster.settle(1)
    assert cluster.stored[TRACE].status is Status.COMPLETE
    assert cluster.pieces[TRACE] == cluster.truth(TRACE)


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


def test_who_was_asked_on_a_guess_is_not_waited_for(cluster: Cluster) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    send(a, TRACE, 11, b)
    visit(b, TRACE, 2, 11, a)
    cluster.fire(a, TRACE, start)
    cluster.settle(1)
    ours = cluster._acts
    cluster._acts = tuple(lambda host, act=act: host is not b and act(host) for act in ours)  # b hangs
    cluster.fire(a, OTHER, visit(a, OTHER, 3))
    cluster.settle(0.2)
    assert cluster.stored[OTHER].status is Status.COMPLETE
    assert cluster.coordination.in_flight == 0
    send(a, THIRD, 12, b)
    cluster.fire(a, THIRD, visit(a, THIRD, 4))
    cluster.settle(0.2)
    assert THIRD not in cluster.stored, "a breadcrumb names b"
    cluster._acts = ours
    visit(b, THIRD, 5, 12, a)
    cluster.settle(1)
    assert cluster.stored[THIRD].status is Status.COMPLETE


@pytest.mark.parametrize("fired_unix_ns", [0, 1, (1 << 63) - 1, (1 << 64) - 1])
def test_a_time_of_firing_that_is_a_lie_can_still_be_told(cluster: Cluster, fired_unix_ns: int) -> None:
    liar = cluster.hosts["c"]
    assert liar.host is not None
    visit(liar, TRACE, 1)
    cluster.coordination.firing.fire(
        liar.host, pb.Fire(fire_id=9, trace_id=TRACE, fired_unix_ns=fired_unix_ns)
    )
    cluster.settle(15)
    assert 0 <= cluster.stored[TRACE].fired_unix_ns < 1 << 63


def test_the_first_comparison_of_clocks_is_waited_for(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    assert a.host is not None
    a.host.clock = OffsetEstimate()
    cluster.fire(a, TRACE, visit(a, TRACE, 1))
    cluster.settle(0.5)
    assert TRACE not in cluster.stored
    now = cluster.unix_ns()
    cluster.coordination.pong(
        a.host, pb.Pong(t0_unix_ns=now, t1_unix_ns=a.unix_ns(), t2_unix_ns=a.unix_ns()), now
    )
    cluster.settle(0.1)
    assert cluster.stored[TRACE].status is Status.COMPLETE


def test_who_watched_a_trace_that_was_elsewhere_has_no_part_in_it(cluster: Cluster) -> None:
    a, _, c = cluster.hosts.values()
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.coordination.dump([TRACE])
    cluster.settle(0.3)
    assert c.agent is not None and len(c.agent.watching) == 1
    c.segment.recycle()
    cluster.start_coordinator()
    for host in cluster.hosts.values():
        host.connect()
    cluster.settle(0.1)
    cluster.write(a, TRACE, Kind.END)
    cluster.settle(1)
    assert [p.name for p in cluster.stored[TRACE].hosts] == ["a"]
    assert cluster.stored[TRACE].status is Status.COMPLETE


def test_what_no_host_knows_is_not_stored(cluster: Cluster) -> None:
    (gather,) = cluster.coordination.dump([TRACE])
    cluster.settle(0.5)
    assert gather.closed and gather.nowhere and not gather.pending
    assert not cluster.stored
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, visit(a, TRACE, 1))
    cluster.settle(0.5)
    assert cluster.stored[TRACE].status is Status.COMPLETE, "until somebody does"
