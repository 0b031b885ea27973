from __future__ import annotations

import numpy as np
import pytest

from wbpf.demo.detector import ServiceTimes

BASE_NS = 1000


def service_ns(noise: float) -> int:
    return int(BASE_NS * (1 + noise))


def test_no_alarm_in_ordinary_noise() -> None:
    random, times = np.random.default_rng(1), ServiceTimes()
    noise = np.clip(random.normal(0, 0.02, 100_000), -0.07, 0.07)
    alarms = [times.observe("get", service_ns(one), BASE_NS) for one in noise]
    assert not any(alarms)


@pytest.mark.parametrize("factor", [1.5, 2.0, 8.0])
def test_every_congested_operation_is_an_alarm(factor: float) -> None:
    random, times = np.random.default_rng(2), ServiceTimes()
    found = congested = 0
    for turn, noise in enumerate(random.normal(0, 0.02, 20_000)):
        slow = turn > times.window and turn % 97 == 0
        alarm = times.observe("get", int(service_ns(noise) * (factor if slow else 1)), BASE_NS)
        congested += slow
        found += slow and alarm is not None
        assert slow or alarm is None
    assert found == congested > 100


def test_no_alarm_before_a_full_window() -> None:
    times = ServiceTimes()
    assert [times.observe("get", BASE_NS * 100 ** (turn == 200), BASE_NS) for turn in range(256)] == [
        None
    ] * 256
    assert times.observe("get", BASE_NS * 2, BASE_NS) is not None


def test_classes_do_not_mix() -> None:
    times = ServiceTimes()
    for _ in range(300):
        times.observe("get", BASE_NS, BASE_NS)
        times.observe("delete", 5 * BASE_NS, BASE_NS)
    assert times.observe("delete", 5 * BASE_NS, BASE_NS) is None
    assert times.observe("get", 5 * BASE_NS, BASE_NS) is not None


def test_a_lasting_change_is_learned() -> None:
    times = ServiceTimes()
    for _ in range(300):
        times.observe("get", BASE_NS, BASE_NS)
    alarms = [times.observe("get", 2 * BASE_NS, BASE_NS) is not None for _ in range(600)]
    assert alarms[0]
    assert not any(alarms[-200:])
