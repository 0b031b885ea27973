"""The tables of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.document import DOCUMENT, render, with_tables
from bench.result import RESULTS, Bar, Result, Row

MACHINE = {
    "cpu": "abacus", "cores": 2, "virtual": True, "memory_gib": 1.0, "kernel": "6", "clocksource": "sundial",
    "load": 0.5,
}  # fmt: skip
VERSIONS = {"gcc": "gcc 12", "python": "3.11", "commit": "0"}


def test_the_document_is_made_from_the_results_in_the_repository() -> None:
    text = DOCUMENT.read_text()
    assert text == with_tables(text, RESULTS), "stale: python -m bench.document"


@pytest.mark.parametrize(
    ("value", "says"), [(4.0, "| met |"), (6.0, "| **missed** |"), (None, "not measured")]
)
def test_a_row_says_whether_its_bar_is_met(tmp_path: Path, value: float | None, says: str) -> None:
    Result(MACHINE, VERSIONS, 1, [Row("x", value, "ns", bar=Bar(5.0, "at most five"))]).write(
        tmp_path / "x.json"
    )
    table = with_tables("<!-- table: x -->\nold\n<!-- table: end -->\n", tmp_path)
    assert says in table
    assert "old" not in table
    assert with_tables(table, tmp_path) == table


def test_notes_stand_below_the_table() -> None:
    row = Row("lttng/event/8B", None, "ns", note="LTTng is not installed").as_json()
    result = {"machine": MACHINE, "versions": VERSIONS, "seed": 1, "rows": [row]}
    assert render(result).endswith("\n- `lttng/event/8B`: LTTng is not installed.\n")
