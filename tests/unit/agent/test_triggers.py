from __future__ import annotations

import random
from typing import Any

import pytest

from tests.unit.coordinator.doubles import AttachedDouble, SegmentDouble
from tests.unit.coordinator.simulated import Cluster
from wbpf.agent import AgentSpec, TriggerLimit
from wbpf.agent.triggers import HELD_MOST, SLOTS_MOST, UNANSWERED_MOST, Triggers, fire_id
from wbpf.recorder import Fired
from wbpf.records.layout import Verb

TRACE = b"t" * 16


@pytest.fixture
def cluster() -> Cluster:
    return Cluster("a", random.Random(1))


@pytest.fixture
def segment(cluster: Cluster) -> SegmentDouble:
    return cluster.hosts["a"].segment


def fire(segment: SegmentDouble, count: int = 1) -> None:
    for n in range(count):
        segment.host.cluster.fire(segment.host, n.to_bytes(15, "big") + b"x", 5)


def read(triggers: Triggers, segment: SegmentDouble, again: bool = False) -> bool:
    attached: Any = AttachedDouble(segment)
    return triggers.read(attached, 0.0, again)


def test_a_trigger_keeps_its_slot_until_it_is_settled(segment: SegmentDouble) -> None:
    triggers = Triggers(AgentSpec())
    fire(segment)
    assert read(triggers, segment)
    (told,) = triggers.due()
    assert (told.trigger, told.value, told.start_unix_ns, told.weight) == ("slow", 1.5, 5, 0.0)
    triggers.admitted([told.fire_id])
    assert len(segment.slots) == 1
    triggers.settled([told.fire_id])
    triggers.settled([told.fire_id])
    assert not segment.slots
    assert not triggers.due()


def test_the_next_agent_tells_it_under_the_same_name(segment: SegmentDouble) -> None:
    first, second = Triggers(AgentSpec()), Triggers(AgentSpec(limits={"*": TriggerLimit(rate=1, burst=1)}))
    fire(segment, 3)
    read(first, segment)
    assert not read(second, segment), "they are taken"
    assert read(second, segment, again=True)
    assert [f.fire_id for f in second.due()] == [f.fire_id for f in first.due()]


def test_a_new_connection_is_told_everything_again(segment: SegmentDouble) -> None:
    triggers = Triggers(AgentSpec())
    fire(segment, 3)
    read(triggers, segment)
    first = [f.fire_id for f in triggers.due()]
    triggers.admitted(first[:1])
    triggers.refused(first[2:])
    triggers.reconnected()
    assert [f.fire_id for f in triggers.due()] == first[:2]
    queue = triggers.queues.queue("slow")
    triggers.admitted(first[:2])
    triggers.reconnected()
    triggers.due()
    triggers.admitted(first[:2])
    assert (queue.fired, queue.admitted, queue.refused, queue.open) == (3, 2, 1, 2)


def test_two_triggers_never_share_a_name() -> None:
    base = Fired(1, 2, Verb.DUMP, 7, TRACE, 0, 1.0, 100, 0, [])
    others = [
        base,
        base._replace(slot=2),
        base._replace(token=3),
        base._replace(ticks=101),
        base._replace(trace_id=b"u" * 16),
    ]
    names = {fire_id(9, item) for item in others} | {fire_id(10, base)}
    assert len(names) == 6


def test_what_a_limit_refuses_frees_its_slot_at_once(segment: SegmentDouble) -> None:
    triggers = Triggers(AgentSpec(limits={"slow": TriggerLimit(rate=1, burst=2)}))
    fire(segment, 5)
    read(triggers, segment)
    assert len(segment.slots) == 2
    assert triggers.queues.queue("slow").limited == 3


def test_a_coordinator_that_is_away_does_not_fill_the_slots(segment: SegmentDouble) -> None:
    triggers = Triggers(AgentSpec(queue_most=1000))
    for _ in range(5):
        fire(segment, 200)
        read(triggers, segment)
    assert len(segment.slots) == SLOTS_MOST
    assert len(triggers.queues) == 1000
    fire(segment, 50)
    read(triggers, segment)
    assert triggers.queues.queue("slow").overflowed == 50


def test_no_more_than_a_window_waits_for_an_answer(segment: SegmentDouble) -> None:
    triggers = Triggers(AgentSpec())
    fire(segment, UNANSWERED_MOST + 10)
    read(triggers, segment)
    first = triggers.due()
    assert len(first) == UNANSWERED_MOST
    triggers.refused([first[0].fire_id])
    assert len(triggers.due()) == 1


def test_memory_is_bounded(segment: SegmentDouble) -> None:
    triggers = Triggers(AgentSpec(queue_most=10**6))
    fire(segment, HELD_MOST + 100)
    read(triggers, segment)
    assert triggers.queues.queue("slow").overflowed == 100


def test_a_reduction_is_told_until_it_is_done(segment: SegmentDouble) -> None:
    triggers = Triggers(AgentSpec())
    segment.slots[3] = False, Fired(3, 3, Verb.REDUCE, 0, TRACE, 0, 0.0, 1, 17, [])
    assert read(triggers, segment)
    (reduce,) = triggers.reduces_due()
    assert (reduce.trace_id, reduce.level) == (TRACE, 17)
    assert triggers.reduces_due() == []
    triggers.reconnected()
    assert triggers.reduces_due() == [reduce]
    triggers.done([reduce.fire_id])
    triggers.reconnected()
    assert triggers.reduces_due() == [] and not segment.slots
