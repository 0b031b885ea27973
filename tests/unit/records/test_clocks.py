from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wbpf.errors import FormatError
from wbpf.records import Calibration, Clock, clock_error_ns

S = 1_000_000_000


def test_between_and_outside_of_calibrations_it_goes_straight_on() -> None:
    # 2 GHz, and a wall clock that was slewed by 1000 ppm in the second stretch.
    clock = Clock(
        [
            Calibration(0, 0, 100 * S, 50),
            Calibration(2 * S, S, 101 * S, 80),
            Calibration(4 * S, 2 * S, 102 * S + 1_000_000, 60),
        ],
        2 * S,
    )
    assert clock.unix_ns(S) == 100 * S + S // 2
    assert clock.unix_ns(3 * S) == 101 * S + 500_500_000
    assert clock.unix_ns(5 * S) == 102 * S + 1_000_000 + 500_500_000
    assert clock.uncertainty_ns(S, 2 * S - 1) == 80
    assert clock.uncertainty_ns(2 * S, 4 * S) == 80
    assert clock.uncertainty_ns(5 * S, 5 * S) == 60 + 70, "the rate was measured within 80 + 60 ns a second"
    assert clock.uncertainty_ns(0, 0) == 80


@example([(50_000_000, 0)], 1.75, 0, 358_285_715)
@given(
    st.lists(st.tuples(st.integers(50_000_000, 3 * S), st.integers(-900, 900)), min_size=1, max_size=5),
    st.floats(-400, 400),
    st.integers(-5 * S, 20 * S),
    st.integers(0, S),
)
def test_the_truth_lies_within_the_uncertainty(
    readings: list[tuple[int, int]], ppm: float, first: int, length: int
) -> None:
    def true_ns(ticks: int) -> int:
        return 100 * S + ticks + int(ticks * ppm / 1e6)

    points = [Calibration(0, 0, true_ns(0), 1)]  # whole nanoseconds: true_ns() is off by up to 1 itself
    for later, error in readings:
        ticks = points[-1].ticks + later
        points.append(Calibration(ticks, ticks, true_ns(ticks) + error, abs(error) + 1))
    clock = Clock(points, S)
    for ticks in (first, first + length):
        uncertainty_ns = clock.uncertainty_ns(first, first + length)
        assert abs(clock.unix_ns(ticks) - true_ns(ticks)) <= uncertainty_ns * 1.001 + 3


def test_the_error_of_times_after_the_last_calibration() -> None:
    points = [Calibration(0, 0, 0, 50), Calibration(S, S, S, 30)]
    assert clock_error_ns(points, 0) == 30
    assert clock_error_ns(points, 2 * S) == 30 + 160
    assert clock_error_ns(points[:1], S) == 50 + 200_000, "the nominal rate was measured in a moment"
    assert clock_error_ns([], S) == 0


def test_offset_and_uncertainty_of_the_host_are_added() -> None:
    clock = Clock([Calibration(0, 0, S, 5)], S, offset_ns=-300, uncertainty_ns=40)
    assert clock.unix_ns(10) == S - 290
    assert clock.uncertainty_ns(0, 0) == 45


def test_readings_close_together_do_not_set_the_rate() -> None:
    close = [Calibration(1000, 1000, S + 1000, 9), Calibration(1010, 1010, S + 2000, 3)]
    assert Clock(close, S).unix_ns(1010 + S) == 2 * S + 2000


def test_without_calibration_there_is_no_clock() -> None:
    with pytest.raises(FormatError, match="no clock calibration"):
        Clock([], S)


u64 = st.integers(0, (1 << 64) - 1)


@given(
    st.lists(st.builds(Calibration, u64, u64, u64, u64), min_size=1, max_size=6),
    u64,
    u64,
    st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_any_numbers_give_a_time(points: list[Calibration], hz: int, ticks: int, offset: int) -> None:
    clock = Clock(points, hz, offset)
    assert 0 <= clock.unix_ns(ticks) < 1 << 63
    assert 0 <= clock.uncertainty_ns(ticks, ticks) < 1 << 63
