from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.errors import FormatError
from wbpf.records import Calibration, Clock

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
    assert clock.uncertainty_ns == 80


def test_offset_and_uncertainty_of_the_host_are_added() -> None:
    clock = Clock([Calibration(0, 0, S, 5)], S, offset_ns=-300, uncertainty_ns=40)
    assert clock.unix_ns(10) == S - 290
    assert clock.uncertainty_ns == 45


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
    assert 0 <= Clock(points, hz, offset).unix_ns(ticks) < 1 << 63
