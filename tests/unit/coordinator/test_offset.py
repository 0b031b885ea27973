from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from wbpf.coordinator.offset import SAMPLES, OffsetEstimate

MS = 1_000_000


@example(skew_ns=0, drift_ppm=-200, delays=[(0, 14_779)], later_s=0.0, ago_s=0.0)
@given(
    skew_ns=st.integers(-50 * MS, 50 * MS),
    drift_ppm=st.integers(-200, 200),
    delays=st.lists(st.tuples(st.integers(0, 20 * MS), st.integers(0, 20 * MS)), min_size=1, max_size=60),
    later_s=st.floats(0, 60),
    ago_s=st.floats(0, 200),
)
def test_the_truth_lies_within_the_uncertainty(
    skew_ns: int, drift_ppm: int, delays: list[tuple[int, int]], later_s: float, ago_s: float
) -> None:
    def host_clock(coordinator_ns: int) -> int:
        return coordinator_ns - skew_ns - coordinator_ns * drift_ppm // 1_000_000

    estimate, now_ns = OffsetEstimate(), 10**9
    for there, back in delays:
        t0, t1 = now_ns, host_clock(now_ns + there)
        t3 = now_ns + there + back
        assert estimate.add(t3 / 1e9, t0, t1, t1, t3)
        now_ns = t3 + 10**9
    at_ns = now_ns + int(later_s * 1e9)
    best = estimate.best(at_ns / 1e9)
    assert best is not None
    assert abs(at_ns - host_clock(at_ns) - best.offset_ns) <= best.uncertainty_ns + 2
    since_ns = at_ns - int(ago_s * 1e9)
    throughout = estimate.best(at_ns / 1e9, since_ns / 1e9)
    assert throughout is not None
    for ns in (since_ns, (since_ns + at_ns) // 2, at_ns):
        assert abs(ns - host_clock(ns) - throughout.offset_ns) <= throughout.uncertainty_ns + 2


def test_old_samples_serve_traces_that_began_long_ago() -> None:
    estimate = OffsetEstimate()
    for n in range(40 * SAMPLES):
        estimate.add(n, n * 10**9, n * 10**9 + 50_000, n * 10**9 + 50_000, n * 10**9 + 100_000)
    now_s = 40.0 * SAMPLES
    assert len(estimate) == SAMPLES
    recent, old = estimate.best(now_s), estimate.best(now_s, now_s - 300)
    assert recent is not None and recent.uncertainty_ns < MS
    assert old is not None and 30 * MS < old.uncertainty_ns < 35 * MS, "200 ppm from a sample in the middle"
    beyond = estimate.best(now_s, 0.0)
    assert beyond is not None and beyond.uncertainty_ns >= 128 * MS


def test_a_short_round_trip_beats_a_long_one_until_it_is_old() -> None:
    estimate = OffsetEstimate()
    estimate.add(0.0, 0, 50_000, 50_000, 100_000)
    estimate.add(1.0, 10**9, 10**9 + 5 * MS, 10**9 + 5 * MS, 10**9 + 10 * MS)
    best = estimate.best(1.0)
    assert best is not None and best.uncertainty_ns == 50_001 + 20 + 200_000
    for n in range(SAMPLES):
        estimate.add(60.0 + n, 0, 2 * MS, 2 * MS, 4 * MS)
    assert len(estimate) == SAMPLES
    best = estimate.best(60.0 + SAMPLES)
    assert best is not None and best.uncertainty_ns > 2 * MS


def test_a_clock_that_is_set_starts_afresh() -> None:
    estimate = OffsetEstimate()
    for n in range(5):
        estimate.add(n, 0, 100, 100, 200)
    estimate.add(5, 0, 10**9, 10**9, 200)
    assert len(estimate) == 1
    best = estimate.best(5)
    assert best is not None and best.offset_ns == 100 - 10**9


def test_impossible_times_are_not_used() -> None:
    estimate = OffsetEstimate()
    assert not estimate.add(0, 100, 0, 0, 50)  # answered before it was asked
    assert not estimate.add(0, 0, 100, 50, 200)  # sent back before it came
    assert not estimate.add(0, 0, 0, 500, 200)  # longer there than away
    assert estimate.best(0) is None


def test_times_that_do_not_fit_the_wire_are_no_sample() -> None:
    estimate = OffsetEstimate()
    assert not estimate.add(1.0, 10**9, (1 << 64) - 2, (1 << 64) - 1, 10**9 + 5)
    assert estimate.add(1.0, 10**9, (1 << 63) - 2, (1 << 63) - 1, 10**9 + 5)
    best = estimate.best(1.0)
    assert best is not None and abs(best.offset_ns) < 1 << 63
