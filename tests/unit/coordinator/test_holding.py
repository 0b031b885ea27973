"""Triggers that are held because there are too many: with the real agents' logic, see simulated.py."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.situations import TRACE, connected, visit
from wbpf.agent import TriggerLimit
from wbpf.coordinator import AdmissionSpec, CoordinatorSpec
from wbpf.coordinator.admission import HOLD_S

HEAVY, LIGHT = 8, 9


@pytest.fixture
def cluster() -> Cluster:
    """A coordinator that takes sixty gathers a second, and eight of them at once."""
    made = connected("ab", CoordinatorSpec(admission=AdmissionSpec(rate_most=60, lag_s=1e9)))
    made.limits["heavy"] = TriggerLimit(weight=3)
    return made


def flood(cluster: Cluster, host: HostDouble, pairs: int, names: tuple[int, ...] = (HEAVY, LIGHT)) -> None:
    """Triggers of short traces."""
    for _ in range(pairs):
        for name in names:
            trace_id = cluster.rng.randbytes(16)
            cluster.fire(host, trace_id, visit(host, trace_id, 1), trigger_id=name)


def kept(cluster: Cluster) -> Counter[str]:
    return Counter(conclusion.trigger_name for conclusion in cluster.stored.values())


def test_who_fires_for_a_trace_that_is_held_gets_the_same_answer(cluster: Cluster) -> None:
    a, b = cluster.hosts.values()
    flood(cluster, a, 4)
    cluster.settle(0.001, 0.001)
    start = visit(a, TRACE, 1)
    cluster.fire(a, TRACE, start, trigger_id=HEAVY)
    cluster.fire(b, TRACE, start, trigger_id=LIGHT)
    cluster.settle(HOLD_S / 2, 0.001)
    candidate = cluster.coordination.admission.held[TRACE]
    assert {host.name for host, _ in candidate.fires.values()} == {"a", "b"}
    cluster.settle(0.5)
    assert TRACE in cluster.stored
    assert not a.segment.slots and not b.segment.slots


def test_a_trigger_that_is_held_for_a_host_that_leaves_is_told_again(cluster: Cluster) -> None:
    a, b = cluster.hosts.values()
    flood(cluster, a, 4)
    cluster.settle(0.001, 0.001)
    flood(cluster, b, 1)
    cluster.settle(HOLD_S / 2, 0.001)
    held = {one.trace_id for one in cluster.coordination.admission.held.values() if one.trigger == "heavy"}
    assert len(held) == 1
    b.disconnect()
    cluster.settle(0.2)
    assert not cluster.coordination.admission.held and not held & set(cluster.stored)
    assert held <= {fired.trace_id for _, fired in b.segment.slots.values()}
    b.connect()
    cluster.settle(0.5)
    assert held <= set(cluster.stored)
    assert not b.segment.slots


@pytest.mark.parametrize("names", [(HEAVY, LIGHT), (LIGHT,) * 6 + (HEAVY,) * 6])
@pytest.mark.parametrize("seed", range(3))
def test_a_restart_with_a_backlog_changes_no_shares(
    cluster: Cluster, names: tuple[int, ...], seed: int
) -> None:
    cluster.rng = random.Random(seed)
    a = cluster.hosts["a"]
    cluster.start_coordinator()
    for _ in range(40):
        flood(cluster, a, 12 // len(names) * 2, names)
        cluster.pass_time(0.05)
    assert a.agent is not None
    waiting = {name: len(queue.waiting) for name, queue in a.agent.triggers.queues.queues.items()}
    assert min(waiting["heavy"], waiting["light"]) > 400
    before = kept(cluster)
    for host in cluster.hosts.values():
        host.connect()
    for _ in range(40):
        flood(cluster, a, 12 // len(names) * 2, names)
        cluster.settle(0.05, 0.01)
    got = kept(cluster) - before
    assert got["light"] > 25
    assert got["heavy"] / got["light"] == pytest.approx(3, rel=0.15)


def test_an_agent_that_is_slow_to_tell_changes_no_shares(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wbpf.agent.triggers.UNANSWERED_MOST", 24)
    a = cluster.hosts["a"]
    acts = (
        cluster.agent_speaks,
        cluster.coordinator_hears,
        cluster.coordinator_speaks,
        cluster.agent_hears,
        cluster.agent_looks,
        cluster.agent_ships,
        cluster.collector_takes,
        cluster.agent_is_acknowledged,
    )
    before = kept(cluster)
    for step in range(800):
        if step % 400 == 0:
            flood(cluster, a, 1000)  # told within 1.3 s of two
        for act in acts:
            while act(a) and act != cluster.agent_speaks:
                pass
        while cluster.coordinator_concludes() or cluster.collector_concludes():
            pass
        cluster.pass_time(0.005)
    got = kept(cluster) - before
    assert got["light"] > 30
    assert got["heavy"] / got["light"] == pytest.approx(3, rel=0.1)
