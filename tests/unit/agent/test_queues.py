from __future__ import annotations

from collections import Counter

import pytest

from wbpf.agent import TriggerLimit
from wbpf.agent.queues import NAMES_MOST, OTHERS, Fire, TokenBucket, TriggerQueues


def queues(most: int = 1000, **limits: TriggerLimit) -> TriggerQueues:
    return TriggerQueues(lambda name: limits.get(name, TriggerLimit()), most)


def fire(all_queues: TriggerQueues, name: str, number: int = 1) -> Fire:
    queue = all_queues.queue(name)
    return Fire(number, name, b"t" * 16, 0, 0, 0.0, b"", queue.limit.weight, None, queue)


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(10, 5)
    assert [bucket.take(100.0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(100.05)
    assert bucket.take(100.15)
    assert sum(bucket.take(100.15 + n / 100) for n in range(1000)) == pytest.approx(100, abs=2)


def test_without_a_rate_nothing_is_refused() -> None:
    bucket = TokenBucket(0, 1)
    assert all(bucket.take(0) for _ in range(1000))


def test_names_are_served_in_turn_whatever_they_weigh() -> None:
    all_queues = queues(heavy=TriggerLimit(weight=3))
    for n in range(600):
        all_queues.offer(fire(all_queues, "light", n), 0)
        all_queues.offer(fire(all_queues, "heavy", n), 0)
    first = Counter(taken.trigger for _ in range(400) if (taken := all_queues.take()))
    assert first == {"heavy": 200, "light": 200}


def test_who_was_idle_does_not_save_up() -> None:
    all_queues = queues()
    for n in range(100):
        all_queues.offer(fire(all_queues, "busy", n), 0)
    for _ in range(50):
        all_queues.take()
    for n in range(20):
        all_queues.offer(fire(all_queues, "late", n), 0)
    served = Counter(taken.trigger for _ in range(20) if (taken := all_queues.take()))
    assert served == {"busy": 10, "late": 10}


def test_each_refusal_is_counted_where_it_belongs() -> None:
    all_queues = queues(2, slow=TriggerLimit(rate=1, burst=1))
    assert [all_queues.offer(fire(all_queues, "slow"), 0) for _ in range(3)] == [True, False, False]
    assert [all_queues.offer(fire(all_queues, "many"), 0) for _ in range(3)] == [True, True, False]
    slow, many = all_queues.queue("slow"), all_queues.queue("many")
    assert (slow.fired, slow.limited, slow.overflowed) == (3, 2, 0)
    assert (many.fired, many.limited, many.overflowed) == (3, 0, 1)
    assert all_queues.offer(fire(all_queues, "slow"), 0, again=True), "it had passed before"


def test_what_was_not_answered_comes_first_again() -> None:
    all_queues = queues()
    for n in range(4):
        all_queues.offer(fire(all_queues, "a", n), 0)
    taken = [all_queues.take() for _ in range(3)]
    for item in reversed(taken):
        assert item is not None
        all_queues.put_back(item)
    again = [item.fire_id for _ in range(4) if (item := all_queues.take())]
    assert again == [0, 1, 2, 3]
    assert all_queues.take() is None


def test_names_are_bounded() -> None:
    all_queues = queues()
    for n in range(NAMES_MOST + 10):
        all_queues.queue(f"name-{n}")
    assert len(all_queues.queues) == NAMES_MOST + 1
    assert all_queues.queue("one more") is all_queues.queues[OTHERS]


def test_a_slot_is_freed_once() -> None:
    freed: list[int] = []
    all_queues = queues()
    one = fire(all_queues, "a")
    one.free = lambda: freed.append(1)
    one.release_slot()
    one.release_slot()
    assert freed == [1]
