"""The common format of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.result import Bar, Result, Row, median_row


def test_value_is_the_median_and_ratio_follows() -> None:
    row = median_row("event/8B/1t", "ns", [9.0, 6.0, 7.0], baseline=3.5)
    assert (row.value, row.ratio) == (7.0, 2.0)


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(10.0, False, True), (10.1, False, False), (10.1, True, True), (9.9, True, False)],
)
def test_whether_a_bar_is_met_is_computed(value: float, at_least: bool, met: bool) -> None:
    assert Row("x", value, "ns", bar=Bar(10.0, "ten", at_least)).met is met


def test_a_row_without_bar_or_value_says_nothing_of_one() -> None:
    assert Row("x", 1.0, "ns").met is None
    unmeasured = Row("lttng/event/8B", None, "ns", bar=Bar(1.0, "one"), note="LTTng is not installed")
    assert unmeasured.as_json()["met"] is None
    assert unmeasured.as_json()["ratio"] is None
    assert "bar" not in Row("x", 1.0, "ns").as_json()


def test_the_file_has_the_common_fields(tmp_path: Path) -> None:
    rows = [
        median_row(
            "a", "ns", [1.23456789], baseline=2.0, bar=Bar(2.5, "at most 2.5"), facts={"disturbed": 3}
        ),
        Row("b", None, "ns", note="why"),
    ]
    path = tmp_path / "results/x.json"
    Result({"cpu": "abacus"}, {"wbpf": "1"}, 7, rows).write(path)
    loaded = json.loads(path.read_text())
    assert (loaded["machine"], loaded["versions"], loaded["seed"]) == ({"cpu": "abacus"}, {"wbpf": "1"}, 7)
    for row in loaded["rows"]:
        assert {"name", "value", "unit", "baseline", "ratio", "samples"} <= set(row)
    first = loaded["rows"][0]
    assert (first["value"], first["bar"], first["met"], first["disturbed"]) == (1.2346, 2.5, True, 3)
    assert loaded["rows"][1]["value"] is None
