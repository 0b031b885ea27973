from __future__ import annotations

from wbpf.coordinator.forecast import HOSTS_MOST, TRIGGERS_MOST, Forecast


def test_what_was_seen_is_expected() -> None:
    forecast = Forecast()
    assert forecast.likely("slow") == []
    forecast.learn("slow", [1, 2])
    assert forecast.likely("slow") == [1, 2]
    assert forecast.likely("other") == []


def test_who_stays_away_is_not_asked_any_more_and_who_comes_is() -> None:
    forecast = Forecast()
    forecast.learn("slow", [1, 2])
    for _ in range(30):
        forecast.learn("slow", [1, 3])
    assert forecast.likely("slow") == [1, 3]


def test_memory_is_bounded() -> None:
    forecast = Forecast()
    for n in range(2 * TRIGGERS_MOST):
        forecast.learn(f"trigger-{n}", [1])
    assert forecast.likely(f"trigger-{2 * TRIGGERS_MOST - 1}") == []
    for n in range(10):
        forecast.learn("trigger-0", range(n * 100, n * 100 + 100))
    assert len(forecast._shares["trigger-0"]) <= HOSTS_MOST
