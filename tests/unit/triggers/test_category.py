from __future__ import annotations

import random
import sys
from itertools import accumulate

import pytest

import wbpf
from tests.unit.triggers.conftest import Recording
from wbpf.errors import ConfigError
from wbpf.triggers import RareCategory


def test_rare_ones_fire_and_common_ones_do_not() -> None:
    shares = {"get": 0.9, "put": 0.08, "delete": 0.015, "move": 0.004, "odd": 0.001}
    draw = random.Random(5).choices
    trigger = RareCategory(0.01)
    fired = dict.fromkeys(shares, 0)
    seen = dict.fromkeys(shares, 0)
    for label in draw(list(shares), list(shares.values()), k=100_000):
        seen[label] += 1
        fired[label] += trigger.observe(label)
    assert fired["get"] == fired["put"] == 0
    assert fired["delete"] < 0.05 * seen["delete"]
    assert fired["move"] > 0.95 * seen["move"] - 10
    assert fired["odd"] > 0.95 * seen["odd"] - 3


def test_it_warms_up() -> None:
    trigger = RareCategory(0.01)
    assert not any(trigger.observe(i) for i in range(1000))
    assert trigger.observe("new")


def test_what_becomes_common_stops_and_what_was_common_long_ago_fires() -> None:
    trigger = RareCategory(0.01, window=5000)
    for _ in range(20_000):
        trigger.observe("old")
    fired = sum(trigger.observe("new") for _ in range(50_000))
    assert 10 < fired < 300
    assert trigger.observe("old")


def test_a_million_labels_take_little_memory() -> None:
    """A thousand counters for a rate of one in a hundred, whatever is observed: labels are not kept."""
    trigger = RareCategory(0.01, warm_up=999_990)
    observe = trigger.observe
    largest_bytes = 0
    for start in range(0, 1_000_000, 500):
        for label in range(start, start + 500):
            observe(label if label % 50 else "common")
        table = trigger._counts
        largest_bytes = max(largest_bytes, sys.getsizeof(table) + 64 * len(table))
    assert largest_bytes < 200_000
    assert trigger.observed == 1_000_000
    assert trigger.fired == 10
    assert not trigger.observe("common")


def test_common_labels_are_not_taken_for_rare_among_a_million() -> None:
    """Zipf's law: labels with a share above the rate must not fire, however many others there are."""
    rng = random.Random(7)
    labels = range(200_000)
    weights = list(accumulate(1 / (rank + 1) for rank in labels))
    trigger = RareCategory(0.005)
    fired: dict[int, int] = {}
    seen: dict[int, int] = {}
    for label in rng.choices(labels, cum_weights=weights, k=120_000):
        seen[label] = seen.get(label, 0) + 1
        fired[label] = fired.get(label, 0) + trigger.observe(label)
    common = [label for label, count in seen.items() if count > 1.5 * 0.005 * 120_000]
    assert len(common) >= 8
    assert sum(fired[label] for label in common) < 0.001 * sum(seen[label] for label in common)
    rare = [label for label, count in seen.items() if count < 0.3 * 0.005 * 120_000]
    assert sum(fired[label] for label in rare) > 0.9 * sum(seen[label] for label in rare)


def test_how_a_block_ends_is_its_category(recording: Recording) -> None:
    trigger = RareCategory(0.1, warm_up=10)
    for _ in range(50):
        with wbpf.trace("request", triggers=[trigger]):
            pass
    with pytest.raises(OSError, match="oh"), wbpf.trace("request", triggers=[trigger]) as odd:
        raise OSError("oh")
    with wbpf.trace("named") as named, trigger.watch("status 503"):
        pass
    assert [(name, one.trace_id.hex()) for name, one in recording.fired()] == [
        ("category.rare", odd.trace_id),
        ("category.rare", named.trace_id),
    ]


@pytest.mark.parametrize("rate", [0, 1, -0.5, float("nan")])
def test_rates_are_checked(rate: float) -> None:
    with pytest.raises(ConfigError, match="is not a rate"):
        RareCategory(rate)
