"""Hosts that die, stay away or talk nonsense, each situation played through with the real agents' logic."""

from __future__ import annotations

import pytest

from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.situations import TRACE, part, send, visit
from wbpf.errors import WireError
from wbpf.records import Status
from wbpf.records.layout import Direction, Kind
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed


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
