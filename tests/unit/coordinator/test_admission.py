from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator

import pytest

from wbpf.coordinator.admission import (
    BURST_S,
    CREDIT_S,
    HELD_MOST,
    HOLD_S,
    NAMES_MOST,
    Admission,
    AdmissionSpec,
    Candidate,
)

WEIGHTS = {"heavy": 3.0, "light": 1.0}
FEATHER = 0.001


class Load:
    """Triggers, served at a fixed rate, first come first served."""

    def __init__(self, spec: AdmissionSpec, service_rate: float = 1e9, seed: int = 5) -> None:
        self.spec = spec
        self.admission = Admission(spec, key=bytes(16))
        self.service_rate = service_rate
        self.waiting: deque[tuple[float, int]] = deque()
        self.in_flight = 0
        self.admitted: Counter[str] = Counter()
        self.answers: dict[bytes, bool] = {}
        self.asked_s: dict[bytes, float] = {}
        self.delays_s: list[float] = []
        self.rng = random.Random(seed)
        self.now_s = 100.0
        self._budget = 0.0

    def fire(self, name: str, trace_id: bytes = b"", cost: int = 1) -> bytes:
        candidate = Candidate(
            name,
            WEIGHTS.get(name, FEATHER if name == "feather" else 1.0),
            trace_id or self.rng.randbytes(16),
            cost,
        )
        self.asked_s.setdefault(candidate.trace_id, self.now_s)
        if self.admission.admit(candidate, self.now_s, self.in_flight):
            self._answer(candidate, True)
        elif (refused := self.admission.hold(candidate, self.now_s, self.in_flight)) is not None:
            self._answer(refused, False)
        return candidate.trace_id

    def _answer(self, candidate: Candidate, admitted: bool) -> None:
        self.answers[candidate.trace_id] = admitted
        self.delays_s.append(self.now_s - self.asked_s[candidate.trace_id])
        if admitted:
            self.admitted[candidate.trigger] += candidate.cost
            self.waiting.append((self.now_s, candidate.cost))
            self.in_flight += candidate.cost

    @property
    def lag_s(self) -> float:
        return self.now_s - self.waiting[0][0] if self.waiting else 0.0

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self._budget += self.service_rate * seconds
        while self.waiting and self._budget >= 1:
            _, cost = self.waiting.popleft()
            self._budget -= cost
            self.in_flight -= cost
            self.admission.done(cost)
        if not self.waiting:
            self._budget = 0.0
        if self.admission.due_s is not None and self.admission.due_s <= self.now_s:
            admitted, refused = self.admission.choose(self.now_s, self.in_flight)
            for candidate in admitted:
                self._answer(candidate, True)
            for candidate in refused:
                self._answer(candidate, False)
        self.admission.control(self.now_s, self.lag_s, self.in_flight)

    def run(self, arrivals: Iterable[tuple[float, str]], seconds: float, step_s: float = 0.002) -> None:
        """Let triggers arrive, each so many seconds from now."""
        began_s, due = self.now_s, iter(arrivals)
        at_s, name = next(due, (float("inf"), ""))
        while self.now_s < began_s + seconds:
            self.pass_time(step_s)
            while began_s + at_s <= self.now_s:
                self.fire(name)
                at_s, name = next(due, (float("inf"), ""))

    def restart(self) -> None:
        """Another coordinator, which knows nothing."""
        self.admission = Admission(self.spec, key=bytes(15) + b"2")

    @property
    def ratio(self) -> float:
        return self.admitted["heavy"] / self.admitted["light"]


def steadily(rates: dict[str, float], seconds: float) -> list[tuple[float, str]]:
    return sorted((n / rate, name) for name, rate in rates.items() for n in range(int(rate * seconds)))


def in_bursts(
    order: str, seconds: float, size: int = 120, period_s: float = 0.15, pause_s: float = 0.2
) -> Iterator[tuple[float, str]]:
    """Bursts of triggers, one every 0.3 ms, and a pause after each second of them.

    The order: `mixed`, the names in turn, or the name that comes first.
    """
    at_s = 0.0
    names = ["heavy", "light"] * (size // 2)
    if order != "mixed":
        names.sort(reverse=order == "light")
    while at_s < seconds:
        if at_s % (1 + pause_s) < 1:
            yield from ((at_s + n * 0.0003, name) for n, name in enumerate(names))
        at_s += period_s


LIMITED = AdmissionSpec(rate_most=60)
ORDERS = ["mixed", "heavy", "light"]


# ---- capacity ----------------------------------------------------------------------------------------------


def test_below_capacity_all_are_admitted_at_once() -> None:
    load = Load(AdmissionSpec(), 1000)
    load.run(steadily({"a": 300}, 5), 5)
    assert load.admission.shares["a"].refused == 0
    assert max(load.delays_s) == 0
    assert load.admission.capacity is None


def test_a_lone_trigger_is_admitted_at_once_also_under_a_limit() -> None:
    load = Load(AdmissionSpec(rate_most=1), 1000)
    for _ in range(5):
        load.run([(0, "a")], 3)
    assert load.admitted["a"] == 5 and max(load.delays_s) == 0


def test_ten_times_overload_is_served_fast_and_shared_by_weight() -> None:
    load = Load(AdmissionSpec(), 1000)
    rates = {"heavy": 5000.0, "light": 4500.0, "rare": 20.0}
    load.run(steadily(rates, 10), 10)
    load.admitted.clear()
    load.delays_s.clear()
    lags = []
    for _ in range(20):
        load.run(steadily(rates, 0.5), 0.5)
        lags.append(load.lag_s)
    assert sum(load.admitted.values()) > 0.7 * 1000 * 10
    assert sorted(lags)[18] < 1.5
    assert load.admitted["rare"] == 200, "it wants less than its share"
    assert load.ratio == pytest.approx(3, rel=0.02)
    assert max(load.delays_s) <= HOLD_S + 0.01


def test_after_an_overload_all_are_admitted_again() -> None:
    load = Load(AdmissionSpec(), 1000)
    load.run(steadily({"a": 10_000}, 3), 3)
    assert load.admission.capacity is not None and load.admission.shares["a"].refused > 10_000
    load.run(steadily({"a": 500}, 10), 10)
    refused = load.admission.shares["a"].refused
    load.run(steadily({"a": 500}, 5), 5)
    assert load.admission.shares["a"].refused == refused


def test_an_overload_that_is_over_is_forgotten() -> None:
    load = Load(AdmissionSpec(), 1000)
    load.run(steadily({"a": 10_000}, 3), 3)
    assert load.admission.capacity is not None
    load.run([], 8)
    assert load.admission.capacity is None


@pytest.mark.parametrize("arrivals", [steadily({"a": 1000}, 8), list(in_bursts("mixed", 8))])
def test_a_fixed_rate_holds_also_without_overload(arrivals: list[tuple[float, str]]) -> None:
    load = Load(AdmissionSpec(rate_most=200))
    load.run(arrivals, 8)
    assert sum(load.admitted.values()) == pytest.approx(200 * 8, rel=0.05)


def test_gathers_open_are_bounded_and_shared_too() -> None:
    load = Load(AdmissionSpec(in_flight_most=100), 50)
    load.run(steadily({"heavy": 100, "light": 100}, 1), 1)
    load.admitted.clear()
    for _ in range(100):
        load.run(steadily({"heavy": 100, "light": 100}, 0.1), 0.1)
        assert load.in_flight <= 100
    assert load.ratio == pytest.approx(3, rel=0.1)


# ---- which ones --------------------------------------------------------------------------------------------


def test_whole_groups_are_admitted_and_paid_for() -> None:
    load = Load(AdmissionSpec(rate_most=100, in_flight_most=50))
    load.fire("a", cost=51)
    load.pass_time(HOLD_S)
    assert not load.admitted, "it can never have room"
    for _ in range(5000):
        load.fire("a", cost=20)
        load.pass_time(0.002)
    assert load.admitted["a"] == pytest.approx(1000, rel=0.05)


def test_of_a_name_those_first_by_the_hash_are_chosen() -> None:
    load = Load(LIMITED)
    load.run(in_bursts("mixed", 1), 1)
    load.answers.clear()
    ids = [load.fire("light") for _ in range(200)]
    load.pass_time(HOLD_S)
    ids.sort(key=load.admission.place)
    chosen = [trace_id for trace_id in ids if load.answers[trace_id]]
    assert 1 <= len(chosen) < 30 and chosen == ids[: len(chosen)]


def test_who_fires_again_and_again_gets_no_more() -> None:
    load = Load(LIMITED)
    load.run(in_bursts("mixed", 1), 1)
    again = min((load.rng.randbytes(16) for _ in range(100)), key=lambda one: -load.admission.place(one))
    for _ in range(50):
        for _ in range(30):
            load.fire("light")
            if again not in load.admission.held:
                load.fire("light", again)
        load.pass_time(HOLD_S)
        assert not load.answers[again]


def test_the_key_is_secret_so_ids_can_not_be_chosen() -> None:
    trace_id = bytes(range(16))
    assert len({Admission(AdmissionSpec()).place(trace_id) for _ in range(4)}) == 4


# ---- shares ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(3))
def test_shares_are_right_also_of_few_that_come_in_bursts(order: str, seed: int) -> None:
    load = Load(LIMITED, seed=seed)
    load.run(in_bursts(order, 3.6), 3.6)
    assert load.admitted["light"] > 40
    assert load.ratio == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("order", ["fair", *ORDERS])
def test_shares_are_right_after_a_restart_with_a_backlog(order: str) -> None:
    load = Load(LIMITED)
    load.run(in_bursts("mixed", 1.2), 1.2)
    load.restart()
    backlog = ["heavy", "light"] * 600
    if order == "fair":  # as agents tell them: by weight, and then what is left
        backlog = ["heavy", "heavy", "heavy", "light"] * 200 + ["light"] * 400
    elif order != "mixed":
        backlog.sort(reverse=order == "light")
    load.admitted.clear()
    for name in backlog:
        load.fire(name)
        load.pass_time(0.0001)
    load.run(in_bursts("mixed", 2.4), 2.4)
    assert load.ratio == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("order", ORDERS)
def test_shares_are_right_after_a_stall(order: str) -> None:
    load = Load(LIMITED)
    load.run(in_bursts("mixed", 1.2), 1.2)
    load.admitted.clear()
    load.now_s += 3
    load.run(in_bursts(order, 2.4, size=1200), 0.4)
    load.run(in_bursts("mixed", 2.4), 2.4)
    assert load.ratio == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("order", ORDERS)
def test_shares_are_right_once_a_capacity_is_found(order: str) -> None:
    load = Load(AdmissionSpec(), 60)
    load.run(in_bursts(order, 2.4), 2.4)
    assert load.admission.capacity is not None
    load.admitted.clear()
    load.run(in_bursts(order, 6), 6)
    assert load.ratio == pytest.approx(3, rel=0.1)


def test_many_names_share_by_weight() -> None:
    load = Load(AdmissionSpec(rate_most=190))
    rates = {"heavy": 100.0, **{f"other-{n}": 100.0 for n in range(16)}}
    load.run(steadily(rates, 10), 10)
    assert load.admitted["heavy"] == pytest.approx(300, rel=0.1)
    assert all(load.admitted[f"other-{n}"] == pytest.approx(100, rel=0.15) for n in range(16))


@pytest.mark.parametrize("silent", WEIGHTS)
def test_silence_earns_no_more_than_a_moment_of_service(silent: str) -> None:
    load = Load(LIMITED)
    (other,) = set(WEIGHTS) - {silent}
    load.run(steadily({other: 600}, 10), 10)
    load.admitted.clear()
    load.run(steadily({"heavy": 600, "light": 600}, 6), 6)
    share = 60 * WEIGHTS[silent] / 4
    assert share * 6 < load.admitted[silent] < share * (6 + CREDIT_S) + BURST_S * 60


def test_what_a_name_had_is_forgotten_when_it_has_been_silent() -> None:
    load = Load(LIMITED)
    load.run(steadily({"heavy": 600, "feather": 100}, 4), 4)
    assert 0 < load.admitted["feather"] < 30, "each counts as a thousand"
    load.run(steadily({"light": 600}, CREDIT_S + 1), CREDIT_S + 1)
    load.admitted.clear()
    load.run(steadily({"light": 600, "feather": 100}, 0.5), 0.5)
    assert load.admitted["feather"] >= 1


def test_names_and_what_is_held_are_bounded() -> None:
    load = Load(AdmissionSpec(rate_most=20_000))
    for n in range(100_000):
        load.fire(f"name-{n}")
    assert len(load.admission.shares) == NAMES_MOST + 1
    assert NAMES_MOST < len(load.admission.held) <= 8 * HELD_MOST
    for _ in range(20_000):
        load.fire("name-0")
    assert len(load.admission.held) <= 8 * HELD_MOST
    load.pass_time(HOLD_S)
    assert not load.admission.held and load.admission.due_s is None


def test_a_name_that_comes_alone_for_a_while_leaves_the_others_their_share() -> None:
    load = Load(LIMITED)
    cycle = [(n * 0.001, name) for n in range(50) for name in WEIGHTS]
    cycle += [(0.05 + n * 0.003, "light") for n in range(50)]
    load.run([(0.2 * number + at_s, name) for number in range(30) for at_s, name in cycle], 6)
    assert sum(load.admitted.values()) > 0.9 * 60 * 6
    assert load.ratio == pytest.approx(3, rel=0.1)
