from __future__ import annotations

import random
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest

import wbpf
from tests.unit.triggers.conftest import Recording
from wbpf.errors import ConfigError
from wbpf.triggers import LatencyPercentile, LatencyThreshold

SEED = random.Random(20251)

SHAPES: dict[str, Callable[[], float]] = {
    "lognormal": lambda: SEED.lognormvariate(1, 0.7),
    "exponential": lambda: SEED.expovariate(0.1),
    "heavy-tailed": lambda: SEED.paretovariate(1.2),
    "uniform": lambda: SEED.uniform(5, 15),
    "bimodal": lambda: SEED.gauss(2, 0.2) if SEED.random() < 0.95 else SEED.gauss(200, 20),
    "a rare slow mode": lambda: SEED.gauss(2, 0.2) if SEED.random() < 0.99 else SEED.gauss(200, 20),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("q", [0.9, 0.99])
def test_it_fires_for_the_slowest_share(shape: str, q: float) -> None:
    draw = SHAPES[shape]
    trigger = LatencyPercentile(q)
    for _ in range(20_000):
        trigger.observe(draw())
    before = trigger.fired
    for _ in range(60_000):
        trigger.observe(draw())
    rate = (trigger.fired - before) / 60_000
    assert 0.7 * (1 - q) < rate < 1.25 * (1 - q)


def test_it_does_not_fire_while_it_warms_up() -> None:
    trigger = LatencyPercentile(0.99, window=1000, warm_up=500)
    assert not any(trigger.observe(SEED.expovariate(1)) for _ in range(500))
    assert any(trigger.observe(SEED.expovariate(1)) for _ in range(2000))


@pytest.mark.parametrize("factor", [10, 0.1])
def test_it_follows_a_shift_within_its_window(factor: float) -> None:
    trigger = LatencyPercentile(0.99, window=4000)
    for _ in range(8000):
        trigger.observe(SEED.lognormvariate(0, 0.5))
    old = trigger.threshold_ms
    for _ in range(4500):
        trigger.observe(factor * SEED.lognormvariate(0, 0.5))
    assert trigger.threshold_ms == pytest.approx(factor * old, rel=0.3)
    before = trigger.fired
    for _ in range(20_000):
        trigger.observe(factor * SEED.lognormvariate(0, 0.5))
    assert 0.7 * 0.01 < (trigger.fired - before) / 20_000 < 1.3 * 0.01


def test_the_same_latency_every_time_never_fires() -> None:
    trigger = LatencyPercentile(0.9)
    assert not any(trigger.observe(3.5) for _ in range(5000))
    assert trigger.observe(3.6)


def test_its_memory_is_bounded_for_any_values() -> None:
    trigger = LatencyPercentile(0.99, window=10_000)
    tracemalloc.start()
    try:
        for _ in range(30_000):
            trigger.observe(10 ** SEED.uniform(-9, 12))
        assert tracemalloc.get_traced_memory()[0] < 4e6
    finally:
        tracemalloc.stop()


def test_threads_share_one() -> None:
    trigger = LatencyPercentile(0.9)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(seed: int) -> None:
        draw = random.Random(seed).expovariate
        for _ in range(8000):
            trigger.observe(draw(1))

    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert trigger.observed == 32_000
    assert 0.08 < trigger.fired / 32_000 < 0.12


def test_a_threshold_fires_above_it_alone(recording: Recording) -> None:
    trigger = LatencyThreshold(20, name="slow")
    with wbpf.trace("request") as trace:
        assert not trigger.observe(20)
        assert trigger.observe(20.5)
        with trigger.watch():
            pass
        with trigger.watch():
            time.sleep(0.03)
        with pytest.raises(ValueError, match="oh"), trigger.watch():
            time.sleep(0.03)
            raise ValueError("oh")
    assert (trigger.observed, trigger.fired) == (5, 3)
    fired = recording.fired()
    assert [(name, one.trace_id.hex()) for name, one in fired] == [("slow", trace.trace_id)] * 3
    assert fired[0][1].value == 20.5
    assert all(30 <= one.value < 1000 for _, one in fired[1:])


def test_a_trace_s_triggers_fire_for_it(recording: Recording) -> None:
    trigger = LatencyThreshold(10)
    with wbpf.trace("fast", triggers=[trigger]):
        pass
    with wbpf.trace("slow", triggers=[trigger]) as slow:
        time.sleep(0.02)
    ((name, fired),) = recording.fired()
    assert (name, fired.trace_id.hex()) == ("latency.threshold", slow.trace_id)
    assert fired.start_unix_ns == slow.context.start_unix_ns


def test_another_trace_can_be_named(recording: Recording) -> None:
    with wbpf.trace("request") as trace:
        pass
    assert LatencyThreshold(1).observe(2, trace.context)
    ((_, fired),) = recording.fired()
    assert fired.trace_id.hex() == trace.trace_id


@pytest.mark.parametrize("ms", [-1, float("nan")])
def test_thresholds_are_checked(ms: float) -> None:
    with pytest.raises(ConfigError, match="is no latency"):
        LatencyThreshold(ms)
