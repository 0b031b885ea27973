"""Hosts that lie about what they did in a trace: it is not called complete when that can be known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.situations import TRACE, part, send, visit
from wbpf.records import Status
from wbpf.records.layout import Kind
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed

EDGE, OTHER_EDGE = 11, 12


def lying(cluster: Cluster, liar: HostDouble, change: Callable[[pb.Found], None]) -> None:
    """From here on a host's answers are changed before they are sent."""
    assert liar.agent is not None
    news = liar.agent.watching.news

    def lie(most: int) -> list[pb.Found]:
        founds = news(most)
        for found in founds:
            change(found)
        return founds

    liar.agent.watching.news = lie  # type: ignore[method-assign]


def call(
    here: HostDouble, there: HostDouble, edge: int = EDGE, *, arrives: bool = True, span: int = 2
) -> None:
    send(here, TRACE, edge, there)
    if arrives:
        visit(there, TRACE, span, edge, here)


@pytest.mark.parametrize("field", ["sent", "received"])
def test_a_call_that_one_end_denies(cluster: Cluster, field: str) -> None:
    a, b, _ = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    call(a, b)
    lying(cluster, a if field == "sent" else b, lambda found: found.ClearField(field))  # type: ignore[arg-type]
    cluster.fire(b, TRACE, start)
    cluster.settle(3)
    stored = cluster.stored[TRACE]
    assert stored.status is Status.PARTIAL
    assert part(stored, "a").status is Status.PARTIAL


@pytest.mark.parametrize("names_sender", [True, False])
def test_a_call_to_another_host_that_one_claims_to_have_got(cluster: Cluster, names_sender: bool) -> None:
    a, b, c = cluster.hosts.values()

    def claim(found: pb.Found) -> None:
        if found.records:
            found.received.add(peer_host_id=a.host_id if names_sender else 0, edges=[EDGE])

    start = visit(a, TRACE, 1)
    call(a, b, arrives=False)
    call(a, c, OTHER_EDGE)
    lying(cluster, c, claim)
    cluster.fire(a, TRACE, start)
    cluster.settle(3)
    assert "breadcrumb to b not answered" in part(cluster.stored[TRACE], "a").reasons
    visit(b, TRACE, 3, EDGE, a)
    cluster.settle(35, 0.2)
    assert "breadcrumb to b not answered" not in part(cluster.stored[TRACE], "a").reasons


def test_a_call_by_another_host_that_one_claims_to_have_made(cluster: Cluster) -> None:
    a, b, c = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    visit(b, TRACE, 2, EDGE, a)  # a has lost that it called
    call(a, c, OTHER_EDGE)
    lying(cluster, c, lambda found: found.sent.add(peer_host_id=b.host_id, edges=[EDGE]) and None)
    cluster.fire(b, TRACE, start)
    cluster.settle(3)
    assert (
        "1 of its requests were received, but not found with it" in part(cluster.stored[TRACE], "a").reasons
    )


@pytest.mark.parametrize("origin", [True, False])
def test_a_later_beginning_does_not_hide_a_loss(cluster: Cluster, origin: bool) -> None:
    a, b, c = cluster.hosts.values()
    start = visit(a, TRACE, 1)
    cluster.write(b, TRACE, Kind.EVENT)
    cluster.now_s += 1
    b.segment.recycle()
    cluster.now_s += 1
    call(a, b)
    call(a, c, OTHER_EDGE, span=3)
    later = cluster.unix_ns() + 10_000_000_000

    def lie(found: pb.Found) -> None:
        found.origin, found.start_unix_ns = origin, later

    lying(cluster, c, lie)
    cluster.fire(a if origin else c, TRACE, start if origin else later)
    cluster.settle(3)
    assert part(cluster.stored[TRACE], "b").status is Status.UNKNOWN


def test_records_without_bytes_are_malformed(cluster: Cluster) -> None:
    a = cluster.hosts["a"]
    cluster.fire(a, TRACE, visit(a, TRACE, 1, end=False))
    cluster.settle(0.2)
    (number,) = (gather.number for gather in cluster.coordination.gathers.open.values())
    assert a.host is not None
    with pytest.raises(Malformed):
        cluster.coordination.found(a.host, pb.Found(gather=number, records=3, delivered=True))
