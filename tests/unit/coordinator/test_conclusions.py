"""When a gathering is over, and what is then said of it: see simulated.py."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.situations import OTHER, THIRD, TRACE, part, send, visit
from wbpf.coordinator.offset import OffsetEstimate
from wbpf.records import Status
from wbpf.records.layout import Kind
from wbpf.wire import gather_pb2 as pb


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


def test_a_trace_that_is_nowhere_is_said_to_be(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, a.unix_ns())
    cluster.settle(3)
    stored = cluster.stored[TRACE]
    assert stored.status is Status.PARTIAL
    assert "no record of this trace was found on any host" in part(stored, "a").reasons


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
