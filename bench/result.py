"""What every benchmark writes: bench/results/NAME.json."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Bar:
    """What a row should reach: `limit`, in the row's unit; `says` puts it in words."""

    limit: float
    says: str
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        """Whether the value stays at or below the limit, or above it if it is `at_least`."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        name: as in the table of docs/benchmarks.md.
        value: None if it could not be measured; `note` then says why.
        unit: `ns`, `B`, `ms` …
        samples: what the value is the median of (or the quantile that the name ends with).
        baseline: what the value is compared with, in the same unit; `baseline_is` names it.
        bar: what the value should reach.
        note: what a reader has to know to read the value rightly.
        facts: further figures that belong to the row.
    """

    name: str
    value: float | None
    unit: str
    samples: list[float] = field(default_factory=list)
    baseline: float | None = None
    baseline_is: str = ""
    bar: Bar | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the baseline."""
        return self.value / self.baseline if self.value is not None and self.baseline else None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without a bar or without a value."""
        return self.bar.is_met(self.value) if self.bar and self.value is not None else None

    def as_json(self) -> dict[str, Any]:
        """The row as the file holds it; what it has not is left out."""
        out: dict[str, Any] = {
            "name": self.name,
            "value": _round(self.value),
            "unit": self.unit,
            "baseline": _round(self.baseline),
            "ratio": _round(self.ratio),
            "samples": [_round(sample) for sample in self.samples],
        }
        if self.baseline_is:
            out["baseline_is"] = self.baseline_is
        if self.bar:
            out |= {"bar": _round(self.bar.limit), "bar_is": self.bar.says, "met": self.met}
        if self.note:
            out["note"] = self.note
        return out | self.facts


def median_row(name: str, unit: str, samples: list[float], **rest: Any) -> Row:
    """A row whose value is the median of its samples."""
    return Row(name, statistics.median(samples), unit, samples, **rest)


@dataclass(frozen=True)
class Result:
    """A run of one benchmark."""

    machine: dict[str, Any]
    versions: dict[str, str]
    seed: int
    rows: list[Row]

    def write(self, path: Path) -> None:
        """Write the file: one line a row, so that two runs can be compared line by line."""
        head = {key: value for key, value in asdict(self).items() if key != "rows"}
        rows = ",\n    ".join(json.dumps(row.as_json(), ensure_ascii=False) for row in self.rows)
        text = json.dumps(head, indent=2, ensure_ascii=False)[:-2] + f',\n  "rows": [\n    {rows}\n  ]\n}}\n'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
