"""Daemons and hosts that die while traces are gathered: nothing is lost, nothing doubled, nobody blocked."""

from __future__ import annotations

import random
import time

import pytest

from tests.integration.gather.cluster import Application, Cluster
from tests.integration.gather.conftest import Start
from wbpf.records import Status, Trace

TRACES = 40
EVENTS = 6


def fire_many(apps: list[Application], count: int = TRACES) -> list[str]:
    """Requests over all hosts; each triggers at a host chosen by chance as soon as it is over."""
    rng = random.Random(3)
    ids = []
    for _ in range(count):
        ids.append(Cluster.request(apps, EVENTS))
        assert rng.choice(apps).trigger(ids[-1])
    return ids


def is_whole(trace: Trace, hosts: str) -> bool:
    found = [(r.host, r.fields["number"]) for r in trace.records if r.name == "work"]
    return sorted(found) == sorted((host, n) for host in hosts for n in range(EVENTS))


def all_are_stored_once_and_whole(cluster: Cluster, ids: list[str], hosts: str) -> None:
    for trace_id in ids:
        assert is_whole(cluster.stored(trace_id), hosts)
    assert cluster.count() == len(ids)
    cluster.until(
        lambda: all(
            queue.open == queue.queued == 0 for h in cluster.tree.status().hosts for queue in h.agent.queues
        ),
        "all triggers to be settled",
    )
    cluster.until(lambda: cluster.tree.status().coordinator.in_flight == 0, "all gathers to be closed")


@pytest.mark.parametrize("victim", ["agent a", "agent c", "coordinator", "collector"])
def test_a_daemon_killed_in_the_middle_is_not_missed(start: Start, victim: str) -> None:
    cluster = start("abc")
    apps = [cluster.application(host) for host in "abc"]
    ids = fire_many(apps)
    cluster.kill(victim)
    ids += fire_many(apps)
    cluster.tree.restart(victim)
    ids += fire_many(apps)
    all_are_stored_once_and_whole(cluster, ids, "abc")


def test_daemons_killed_again_and_again(start: Start) -> None:
    cluster = start("ab", options={"coordinator": {"retain_s": 30.0}})
    apps = [cluster.application(host) for host in "ab"]
    rng = random.Random(7)
    ids: list[str] = []
    for _ in range(12):
        victim = rng.choice(["agent a", "agent b", "coordinator", "collector"])
        ids += fire_many(apps, 5)
        time.sleep(rng.random() * 0.03)
        cluster.kill(victim)
        ids += fire_many(apps, 2)
        cluster.tree.restart(victim)
    all_are_stored_once_and_whole(cluster, ids, "ab")


def test_all_daemons_killed_at_once(start: Start) -> None:
    cluster = start("ab")
    apps = [cluster.application(host) for host in "ab"]
    ids = fire_many(apps)
    for name in cluster.tree.children:
        cluster.kill(name)
    ids += fire_many(apps)
    for name in ("collector", "coordinator", "agent a", "agent b"):
        cluster.tree.restart(name)
    all_are_stored_once_and_whole(cluster, ids, "ab")


def test_a_dead_host_is_named_and_asked_when_it_is_back(start: Start) -> None:
    cluster = start("abc")
    trace_id, apps = cluster.chain("abc", EVENTS)
    cluster.kill("agent b")
    apps[1].kill()
    apps[0].trigger(trace_id)
    trace = cluster.stored(trace_id, Status.PARTIAL)
    parts = {part.name: part for part in trace.hosts}
    assert list(parts["a"].reasons) == ["breadcrumb to b not answered"]
    (reason,) = parts["b"].reasons
    assert reason.startswith("its agent disconnected at ")
    assert "c" not in parts, "only b knew of it"
    cluster.tree.restart("agent b")
    assert is_whole(cluster.stored(trace_id), "abc"), "its memory is still there"


def test_a_stopped_agent_holds_nobody_up(start: Start) -> None:
    cluster = start("abc")
    trace_id, apps = cluster.chain("abc", EVENTS)
    cluster.pause("agent b")
    other = Cluster.request([apps[0], apps[2]], EVENTS)
    apps[0].trigger(trace_id)
    apps[0].trigger(other)
    began = time.monotonic()
    cluster.stored(other)
    assert time.monotonic() - began < 1.5
    trace = cluster.stored(trace_id, Status.PARTIAL)
    (reason,) = next(part for part in trace.hosts if part.name == "b").reasons
    assert reason.startswith("its agent d"), "did not answer, or disconnected"
    cluster.resume("agent b")
    assert is_whole(cluster.stored(trace_id), "abc")


def test_a_coordinator_that_is_away_is_waited_for(start: Start) -> None:
    cluster = start("ab")
    apps = [cluster.application(host) for host in "ab"]
    cluster.kill("coordinator")
    ids = fire_many(apps, 150)  # more than keep their slots
    time.sleep(3)
    ids += fire_many(apps, 50)
    cluster.tree.restart("coordinator")
    all_are_stored_once_and_whole(cluster, ids, "ab")


def test_applications_never_wait_for_daemons(start: Start) -> None:
    cluster = start("ab")
    app = cluster.application("a")
    count = 300
    code = (
        "import time\nbegan = time.perf_counter()\n"
        f"for _ in range({count}):\n    with wbpf.trace('x'): wbpf.trigger('slow')\n"
        "result = time.perf_counter() - began"
    )
    for name in ("agent a", "coordinator"):
        cluster.pause(name)
    seconds = app.do(code)
    assert seconds / count < 0.001
    for name in ("agent a", "coordinator"):
        cluster.resume(name)
    (segment,) = cluster.tree.status().hosts[0].agent.segments
    assert segment.triggers_dropped > 0, "what did not fit was counted"
