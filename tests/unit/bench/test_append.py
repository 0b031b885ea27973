"""Bars of the recorder's rows, and the check of what was written."""

from __future__ import annotations

from typing import Any

import pytest

from bench.build import BenchError
from bench.recorder.append import begin_end_rows, check, event_rows
from bench.recorder.run import Slices


def slices(**values: float) -> dict[tuple[str, int], Slices]:
    return {(name[:-2], int(name[-1])): Slices([value], 0, 1) for name, value in values.items()}


def test_bars_of_events() -> None:
    measured = slices(
        memcpy_1=4.0,
        memcpy_2=6.0,
        event_1=9.0,
        event_2=9.5,
        event_stamped_1=20.5,
        event_stamped_2=21.0,
        clock_read_1=10.0,
    )
    rows = {row.name: row for row in event_rows("64B", measured)}
    bars = {name: row.bar.limit for name, row in rows.items() if row.bar}
    assert bars == pytest.approx(
        {
            "event/64B/1t": 9.0,  # memcpy + 5
            "event/64B/2t": 9.9,  # 1.1 × one thread: lower than memcpy + 5
            "event_stamped/64B/1t": 20.0,  # and a clock read, and 1
            "event_stamped/64B/2t": 22.0,
        }
    )
    assert [name for name, row in rows.items() if row.met is False] == ["event_stamped/64B/1t"]
    assert rows["event/64B/2t"].baseline == 6.0
    assert "1.50 ×" in rows["event/64B/2t"].note


def test_bars_of_traces() -> None:
    one, two = begin_end_rows(slices(begin_end_1=35.0, begin_end_2=39.0, clock_read_1=10.0))
    assert one.bar and two.bar
    assert (one.bar.limit, one.met, two.bar.limit, two.met) == (35.0, True, 35.0, False)


WRITTEN = {
    "threads": [
        {"begins": 2, "ends": 2, "events": 100, "stamped": 40},
        {"begins": 1, "ends": 1, "events": 50, "stamped": 0},
    ]
}
EVENT_BYTES = 60 * (64 + 8) + 40 * (64 + 16) + 50 * (64 + 8)
FOUND: dict[str, Any] = {
    "refused": 0,
    "truncated": 0,
    "resident": 60,
    "found": 60,
    "recycled": 2 * 3 + 150 + 4 - 60,
    "chunks_taken": 6,
    "resident_bytes": 1000,
    "recycled_bytes": 3 * 40 + 3 * 24 + EVENT_BYTES + 4 * 24 - 1000,
    "threads": [{"first": 70, "last": 99, "count": 30}, {"first": 45, "last": 49, "count": 5}],
}


def test_a_segment_in_which_all_adds_up() -> None:
    check(WRITTEN, FOUND, 64)


@pytest.mark.parametrize(
    "wrong",
    [
        {"refused": 1},
        {"truncated": 1},
        {"recycled": FOUND["recycled"] - 1},
        {"recycled": FOUND["recycled"] - 5},
        {"recycled": FOUND["recycled"] + 5},
        {"recycled_bytes": FOUND["recycled_bytes"] - 72},
        {"found": 59},
        {"threads": [{"first": 70, "last": 99, "count": 29}, FOUND["threads"][1]]},
        {"threads": [FOUND["threads"][0], {"first": 44, "last": 48, "count": 5}]},
    ],
    ids=str,
)
def test_a_segment_in_which_something_is_missing(wrong: dict[str, Any]) -> None:
    with pytest.raises(BenchError):
        check(WRITTEN, FOUND | wrong, 64)
