from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.coordinator.admission import NAMES_MOST, Admission, AdmissionSpec, water_fill


@given(
    st.floats(0, 1e6),
    st.dictionaries(st.text(), st.tuples(st.floats(0, 1e6), st.floats(0.001, 1e3)), max_size=8),
)
def test_water_fill_shares_all_and_gives_nobody_too_much(
    capacity: float, wanted: dict[str, tuple[float, float]]
) -> None:
    given_out = water_fill(capacity, wanted)
    total = sum(demand for demand, _ in wanted.values())
    assert sum(given_out.values()) == pytest.approx(min(capacity, total), rel=1e-6, abs=1e-6)
    assert all(given_out[name] <= wanted[name][0] * (1 + 1e-9) for name in wanted)


def test_water_fill_weighs() -> None:
    assert water_fill(100, {"a": (1000, 3), "b": (1000, 1)}) == {"a": 75, "b": 25}
    assert water_fill(100, {"a": (10, 3), "b": (1000, 1)}) == {"a": 10, "b": 90}


class Load:
    """Triggers at fixed rates, served at a fixed rate, first come first served."""

    def __init__(self, offered: dict[str, tuple[float, float]], service_rate: float) -> None:
        self.admission = Admission(AdmissionSpec(), key=bytes(16))
        self.due: dict[str, float] = {}
        self.offered = offered
        self.service_rate = service_rate
        self.waiting: list[tuple[float, str]] = []
        self.served: dict[str, int] = dict.fromkeys(offered, 0)
        self.rng = random.Random(5)
        self.now_s = 0.0

    def run(self, seconds: float, step_s: float = 0.01) -> None:
        budget = 0.0
        for _ in range(int(seconds / step_s)):
            self.now_s += step_s
            for name, (rate, weight) in self.offered.items():
                due = self.due.get(name, 0.0) + rate * step_s
                self.due[name] = due % 1
                for _ in range(int(due)):
                    trace_id = self.rng.randbytes(16)
                    if self.admission.admit(name, weight, trace_id, 1, len(self.waiting)):
                        self.waiting.append((self.now_s, name))
            budget = min(budget + self.service_rate * step_s, self.service_rate)
            while self.waiting and budget >= 1:
                budget -= 1
                _, name = self.waiting.pop(0)
                self.served[name] += 1
                self.admission.done()
            if not self.waiting:
                budget = 0.0
            lag_s = self.now_s - self.waiting[0][0] if self.waiting else 0.0
            self.admission.control(self.now_s, lag_s, len(self.waiting))


def test_below_capacity_all_are_admitted() -> None:
    load = Load({"a": (300, 1)}, 1000)
    load.run(5)
    share = load.admission.shares["a"]
    assert share.refused == 0 and share.threshold == 1
    assert load.admission.capacity is None


def test_ten_times_overload_is_served_fast_and_shared_by_weight() -> None:
    load = Load({"heavy": (5000, 3), "light": (4500, 1), "rare": (20, 1)}, 1000)
    load.run(10)
    load.served = dict.fromkeys(load.served, 0)
    lags = []
    for _ in range(20):
        load.run(0.5)
        lags.append(load.now_s - load.waiting[0][0] if load.waiting else 0.0)
    total = sum(load.served.values())
    assert total > 0.7 * 1000 * 10
    assert sorted(lags)[18] < 1.5
    assert load.served["rare"] == pytest.approx(200, rel=0.15), "it wants less than its share"
    assert load.served["heavy"] / load.served["light"] == pytest.approx(3, rel=0.1)


def test_after_an_overload_all_are_admitted_again() -> None:
    load = Load({"a": (10_000, 1)}, 1000)
    load.run(3)
    assert load.admission.shares["a"].threshold < 0.5
    load.offered = {"a": (500, 1)}
    load.run(15)
    assert load.admission.shares["a"].threshold == 1


def test_the_same_trace_meets_the_same_answer() -> None:
    admission = Admission(AdmissionSpec())
    admission.admit("a", 1, bytes(15) + b"x", 1, 0)
    admission.shares["a"].threshold = 0.3
    ids = [random.Random(n).randbytes(16) for n in range(2000)]
    first = [admission.admit("a", 1, trace_id, 1, 0) for trace_id in ids]
    assert first == [admission.admit("a", 1, trace_id, 1, 0) for trace_id in ids]
    assert 0.25 < sum(first) / len(first) < 0.35
    admission.shares["a"].threshold = 0.5
    more = [admission.admit("a", 1, trace_id, 1, 0) for trace_id in ids]
    assert all(later for before, later in zip(first, more, strict=True) if before)


def test_the_key_is_secret_so_ids_can_not_be_chosen() -> None:
    trace_id = bytes(range(16))
    assert len({Admission(AdmissionSpec()).place(trace_id) for _ in range(4)}) == 4


def test_a_group_counts_whole() -> None:
    admission = Admission(AdmissionSpec(in_flight_most=10))
    assert admission.admit("a", 1, b"x" * 16, 5, 5)
    assert not admission.admit("a", 1, b"x" * 16, 6, 5)


def test_a_fixed_rate_holds_also_without_overload() -> None:
    load = Load({"a": (1000, 1)}, 5000)
    load.admission = Admission(AdmissionSpec(rate_most=200))
    load.run(3)
    load.served = {"a": 0}
    load.run(5)
    assert load.served["a"] == pytest.approx(1000, rel=0.15)


def test_names_are_bounded() -> None:
    admission = Admission(AdmissionSpec())
    for n in range(2 * NAMES_MOST):
        admission.admit(f"name-{n}", 1, n.to_bytes(16, "big"), 1, 0)
    assert len(admission.shares) == NAMES_MOST + 1


def test_an_overload_that_is_over_is_forgotten() -> None:
    load = Load({"a": (10_000, 1)}, 1000)
    load.run(3)
    assert load.admission.capacity is not None
    load.offered = {}
    load.run(8)
    assert load.admission.capacity is None
    assert load.admission.shares["a"].threshold == 1


def test_a_new_name_is_not_punished_for_the_others() -> None:
    load = Load({"a": (10_000, 1)}, 1000)
    load.run(3)
    assert load.admission.shares["a"].threshold < 0.5
    assert load.admission.admit("new", 1, b"\xff" * 16, 1, 10)


def test_a_burst_after_silence_is_shared_by_weight_too() -> None:
    load = Load({"heavy": (2000, 3), "light": (2000, 1)}, 5000)
    load.admission = Admission(AdmissionSpec(rate_most=100), key=bytes(16))
    load.run(1)
    load.offered, rates = {}, load.offered
    load.run(3)
    load.offered, load.served = rates, dict.fromkeys(load.served, 0)
    load.run(0.3)
    assert sum(load.served.values()) < 200, "of the 1,200 that were offered"
    load.run(5.7)
    assert sum(load.served.values()) == pytest.approx(600, rel=0.1)
    assert load.served["heavy"] / load.served["light"] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_right_also_of_a_few_hundred(seed: int) -> None:
    load = Load({"heavy": (800, 3), "light": (800, 1)}, 5000)
    load.rng = random.Random(seed)
    load.admission = Admission(AdmissionSpec(rate_most=50), key=bytes(16))
    load.run(2)
    load.served = dict.fromkeys(load.served, 0)
    load.run(8)
    assert load.served["light"] == pytest.approx(100, rel=0.1)
    assert load.served["heavy"] / load.served["light"] == pytest.approx(3, rel=0.1)
