"""What is gathered, from real segments by real daemons."""

from __future__ import annotations

import time

import pytest

from tests.integration.gather.cluster import Application, Cluster
from wbpf.records import Status, Trace, host_id
from wbpf.records.layout import Kind


@pytest.fixture(scope="module")
def apps(cluster: Cluster) -> dict[str, Application]:
    return {host: cluster.application(host) for host in "abcd"}


def work(trace: Trace) -> list[tuple[str, int]]:
    return [(r.host, r.fields["number"]) for r in trace.records if r.name == "work"]  # type: ignore[misc]


def test_a_trace_of_four_hosts_is_whole(cluster: Cluster, apps: dict[str, Application]) -> None:
    trace_id = cluster.request(list(apps.values()), events=5)
    others = [cluster.request(list(apps.values())) for _ in range(3)]
    apps["a"].trigger(trace_id, "slow", 12.5)
    trace = cluster.stored(trace_id)
    assert work(trace) == [(host, n) for host in "abcd" for n in range(5)]
    assert [part.name for part in trace.hosts] == list("abcd")
    assert trace.trigger is not None
    assert (trace.trigger.name, trace.trigger.value, trace.trigger.host) == ("slow", 12.5, "a")
    assert [(edge.from_host, edge.to_host) for edge in trace.edges] == [("a", "b"), ("b", "c"), ("c", "d")]
    assert len(trace.roots) == 1, "the spans of all hosts hang together"
    assert len([r for r in trace.records if r.kind == Kind.END]) == 4
    for part in trace.hosts:
        assert 0 < part.uncertainty_ns < 50_000_000
        assert abs(part.offset_ns) <= part.uncertainty_ns, "they all have the same clock"
    assert all(cluster.find(other) is None for other in others), "nothing else is shipped"


def test_a_trigger_anywhere_finds_the_whole(cluster: Cluster, apps: dict[str, Application]) -> None:
    for host in "bd":
        trace_id = cluster.request(list(apps.values()))
        apps[host].trigger(trace_id)
        assert len(cluster.stored(trace_id).hosts) == 4


def test_a_host_that_was_not_named_is_found(cluster: Cluster, apps: dict[str, Application]) -> None:
    trace_id, context = apps["a"].visit(peer="")
    apps["c"].visit(context)
    apps["a"].trigger(trace_id)
    assert [part.name for part in cluster.stored(trace_id).hosts] == ["a", "c"]


def test_a_trace_that_runs_is_watched_to_its_end(cluster: Cluster, apps: dict[str, Application]) -> None:
    a, b = apps["a"], apps["b"]
    trace_id, context = a.visit(peer="b", end=False)
    a.do("wbpf.trigger('early')")
    time.sleep(0.4)
    assert cluster.find(trace_id) is None
    b.visit(context, events=4)
    a.do("wbpf.event('work', number=99, host='a'); scope.__exit__(None, None, None)")
    trace = cluster.stored(trace_id)
    assert sorted(work(trace)) == [("a", 0), ("a", 99), *(("b", n) for n in range(4))]


def test_what_comes_after_the_limit_completes_it(cluster: Cluster, apps: dict[str, Application]) -> None:
    a, b = apps["a"], apps["b"]
    trace_id, context = a.visit(peer="b", end=False)
    a.do("wbpf.trigger('early')")
    trace = cluster.stored(trace_id, Status.PARTIAL)
    assert list(trace.hosts[0].reasons) == [
        "1 span has not ended within 2 s",
        "breadcrumb to b not answered",
    ]
    b.visit(context)
    a.do("scope.__exit__(None, None, None)")
    assert [part.name for part in cluster.stored(trace_id).hosts] == ["a", "b"]


def test_a_breadcrumb_that_nobody_answers_is_named(cluster: Cluster, apps: dict[str, Application]) -> None:
    trace_id, _ = apps["a"].visit(peer="elsewhere")
    apps["a"].trigger(trace_id)
    trace = cluster.stored(trace_id, Status.PARTIAL)
    reasons = {part.name: list(part.reasons) for part in trace.hosts}
    unknown = f"host-{host_id('elsewhere'):016x}"
    assert reasons == {
        "a": [f"breadcrumb to {unknown} not answered"],
        unknown: ["no agent of this host has ever attached"],
    }


def test_laterals_come_with_it(cluster: Cluster, apps: dict[str, Application]) -> None:
    others = [cluster.request([apps["b"], apps["c"]]) for _ in range(15)]  # more than one slot holds
    trace_id = cluster.request([apps["a"], apps["b"]])
    apps["b"].trigger(trace_id, "queue", 15, others)
    trace = cluster.stored(trace_id)
    assert sorted(lateral.hex() for lateral in trace.laterals) == sorted(others)
    for other in others:
        lateral = cluster.stored(other)
        assert [part.name for part in lateral.hosts] == ["b", "c"]
        assert lateral.group_id == trace.group_id == bytes.fromhex(trace_id)


def test_laterals_named_by_a_trigger_record_come_with_it(
    cluster: Cluster, apps: dict[str, Application]
) -> None:
    other = cluster.request([apps["c"]])
    trace_id, context = apps["a"].visit(peer="b")
    apps["b"].do(
        f"with wbpf.trace('b', parent=TraceContext.from_bytes(bytes.fromhex({context!r}))):\n"
        f"    wbpf.trigger('inner', 1, [{other!r}])"
    )
    assert cluster.stored(trace_id).laterals == (bytes.fromhex(other),)
    assert [part.name for part in cluster.stored(other).hosts] == ["c"]


def test_fired_twice_it_is_stored_once(cluster: Cluster, apps: dict[str, Application]) -> None:
    before = cluster.tree.status().coordinator.complete
    trace_id = cluster.request([apps["a"], apps["b"]])
    for _ in range(3):
        apps["a"].trigger(trace_id)
        apps["b"].trigger(trace_id)
    cluster.stored(trace_id)
    time.sleep(0.3)
    apps["a"].trigger(trace_id)
    time.sleep(0.3)
    status = cluster.tree.status()
    assert status.coordinator.complete == before + 1
    assert all(queue.open == 0 for host in status.hosts for queue in host.agent.queues)


def test_a_trace_of_a_process_that_died_is_labelled(cluster: Cluster) -> None:
    victim = cluster.application("a", "victim")
    trace_id, _ = victim.visit(events=7, end=False)
    victim.do("wbpf.trigger('last words')")
    victim.kill()
    trace = cluster.stored(trace_id, Status.PARTIAL)
    assert list(trace.hosts[0].reasons) == [f"process {victim.pid} died inside a span"]
    assert len(work(trace)) == 7, "nothing published is lost"


def test_two_services_of_a_host_are_one_part(cluster: Cluster, apps: dict[str, Application]) -> None:
    second = cluster.application("a", "second")
    trace_id, context = apps["a"].visit(peer="a")
    second.visit(context)
    second.trigger(trace_id)
    trace = cluster.stored(trace_id)
    assert len(trace.hosts) == 1
    assert {record.service for record in trace.records} == {"svc", "second"}


def test_dump_gathers_what_a_person_asks_for(cluster: Cluster, apps: dict[str, Application]) -> None:
    trace_id = cluster.request([apps["c"], apps["d"]])
    (gathered,) = cluster.tree.client().dump([bytes.fromhex(trace_id)]).gathered
    assert [(part.name, part.status) for part in gathered.hosts] == [("c", 1), ("d", 1)]
    trace = cluster.stored(trace_id)
    assert trace.trigger is not None and trace.trigger.name == "dump"
    before = cluster.tree.status().collector.traces
    nothing = cluster.tree.client().dump([b"nowhere at all.."])
    assert nothing.nowhere == b"nowhere at all.." and not nothing.gathered
    assert cluster.tree.status().collector.traces == before, "nothing is stored of it"


def test_dump_gathers_what_runs_now(cluster: Cluster, apps: dict[str, Application]) -> None:
    trace_id, context = apps["a"].visit(peer="b")
    running, onward = apps["b"].visit(context, "c", end=False)
    assert running == trace_id
    gathered = cluster.tree.client().dump(current=True).gathered
    assert trace_id in [conclusion.trace_id.hex() for conclusion in gathered]
    apps["c"].visit(onward)
    apps["b"].do("scope.__exit__(None, None, None)")
    assert [part.name for part in cluster.stored(trace_id).hosts] == ["a", "b", "c"]


def test_reduce_reaches_every_host_of_the_trace(cluster: Cluster, apps: dict[str, Application]) -> None:
    a, b = apps["a"], apps["b"]
    trace_id, context = a.visit(peer="b", end=False)
    b.do(f"inner = wbpf.trace('b', parent=TraceContext.from_bytes(bytes.fromhex({context!r})))")
    b.do("inner.__enter__()")
    assert b.do("result = wbpf.enabled('info')") is True
    assert a.do("result = wbpf.reduce('error')") is True
    cluster.until(lambda: b.do("result = wbpf.enabled('info')") is False, "the reduction on b")
    assert b.do("result = wbpf.enabled('error')") is True
    assert apps["c"].do("result = serve('c') and wbpf.enabled('info')") is not None
    b.do("inner.__exit__(None, None, None)")
    a.do("scope.__exit__(None, None, None)")
    assert cluster.tree.client().reduce(0, bytes.fromhex(trace_id)) == list("abcd")


def test_reduce_of_a_host_holds_for_all_its_traces(cluster: Cluster, apps: dict[str, Application]) -> None:
    assert cluster.tree.client().reduce(17, host="d") == ["d"]

    def enabled() -> bool:
        return bool(apps["d"].do("with wbpf.trace('x'): result = wbpf.enabled('info')"))

    cluster.until(lambda: not enabled(), "the reduction of d")
    later = cluster.application("d", "later")
    cluster.until(
        lambda: not later.do("with wbpf.trace('x'): result = wbpf.enabled('info')"),
        "the reduction of a new segment",
    )
    cluster.tree.client().reduce(1, host="d")
    cluster.until(enabled, "the end of the reduction")


def test_clear_reaches_the_other_hosts(cluster: Cluster, apps: dict[str, Application]) -> None:
    gone = cluster.application("b", "cleared")
    trace_id, context = apps["a"].visit(peer="b", end=False)
    gone.visit(context)
    gone.kill()  # what nobody writes to can be flagged from outside
    apps["a"].do("wbpf.clear(); scope.__exit__(None, None, None)")
    from wbpf.recorder import Segment, Watch

    with Segment.open(cluster.tree.directory / "b" / "cleared.seg") as segment:
        cluster.until(
            lambda: all(piece.cleared for piece in Watch(segment).dump() if piece.trace_id.hex() == trace_id),
            "the flags on b",
        )


def test_the_status_tells_what_was_done(cluster: Cluster, apps: dict[str, Application]) -> None:
    status = cluster.tree.status()
    assert [host.host for host in status.hosts] == list("abcd")
    for host in status.hosts:
        assert host.connected and host.agent.collector_connected and not host.agent.faults
        segment = next(one for one in host.agent.segments if one.service == "svc")
        assert segment.written_records == segment.resident_records + segment.recycled_records > 0
        assert segment.horizon_s > 0 and segment.chunks >= segment.chunks_used > 0
    assert status.coordinator.in_flight <= 1
    assert status.coordinator.complete > 5 and status.coordinator.partial >= 2
    assert status.collector.traces == cluster.count() and not status.collector.fault
    delivered = sum(c.sent_bytes for h in status.hosts for c in h.agent.bytes if c.kind == "delivery")
    assert delivered == next(c.received_bytes for c in status.collector.bytes if c.kind == "delivery")


def test_without_a_trigger_no_chunk_is_read(cluster: Cluster, apps: dict[str, Application]) -> None:
    def searches() -> list[int]:
        return [host.agent.searches for host in cluster.tree.status().hosts]

    cluster.until(lambda: all(host.agent.watching == 0 for host in cluster.tree.status().hosts), "quiet", 40)
    before = searches()
    for _ in range(200):
        cluster.request([apps["a"], apps["b"]], events=1)
    assert searches() == before
