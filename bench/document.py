"""Writes the tables of docs/benchmarks.md from bench/results/: `python -m bench.document [--check]`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from bench.build import ROOT
from bench.result import RESULTS

DOCUMENT = ROOT / "docs/benchmarks.md"
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- table: end -->)", re.DOTALL)


def main() -> int:
    """Write, or say with `--check` whether it is up to date."""
    parser = argparse.ArgumentParser(prog="python -m bench.document", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if the tables are stale"
    )
    check = parser.parse_args().check
    old = DOCUMENT.read_text()
    new = with_tables(old, RESULTS)
    if check and old != new:
        print(f"{DOCUMENT.relative_to(ROOT)} is stale: python -m bench.document", file=sys.stderr)
        return 1
    if not check:
        DOCUMENT.write_text(new)
    return 0


def with_tables(text: str, results: Path) -> str:
    """The text with each table made anew from the result file that its mark names."""

    def table(match: re.Match[str]) -> str:
        result = json.loads((results / f"{match[2]}.json").read_text())
        return match[1] + render(result) + match[3]

    return TABLE.sub(table, text)


def render(result: dict[str, Any]) -> str:
    """The rows of a result, and what they were measured on."""
    machine, versions = result["machine"], result["versions"]
    where = [
        machine["cpu"],
        f"{machine['cores']} cores" + (" of a virtual machine" if machine["virtual"] else ""),
        f"{machine['memory_gib']} GiB",
        f"Linux {machine['kernel']}",
        f"clock source {machine['clocksource']}",
        versions["gcc"],
        f"Python {versions['python']}",
        f"load {machine['load']} before the run",
    ]
    lines = [
        f"{', '.join(where)}; commit {versions['commit']}, seed {result['seed']}.",
        "",
        "| row | value | of them, 10 to 90 % | baseline | ratio | bar | |",
        "|---|---|---|---|---|---|---|",
        *(_line(row) for row in result["rows"]),
    ]
    notes = [f"- `{row['name']}`: {row['note']}." for row in result["rows"] if row.get("note")]
    return "\n".join([*lines, "", *notes, ""] if notes else [*lines, ""])


def _line(row: dict[str, Any]) -> str:
    value = "not measured" if row["value"] is None else f"{_number(row['value'])} {row['unit']}"
    samples = sorted(row["samples"])
    spread = ""
    if len(samples) >= 10:
        low, high = samples[len(samples) // 10], samples[-1 - len(samples) // 10]
        spread = f"{_number(low)} … {_number(high)}"
    baseline = "" if row["baseline"] is None else f"{_number(row['baseline'])} ({row['baseline_is']})"
    ratio = "" if row["ratio"] is None else f"{_number(row['ratio'])}"
    bar = f"{row['bar_is']}: {_number(row['bar'])}" if "bar" in row else ""
    met = {True: "met", False: "**missed**", None: ""}[row.get("met")]
    return f"| `{row['name']}` | {value} | {spread} | {baseline} | {ratio} | {bar} | {met} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
