"""Measure, print, and write bench/results/user.json: `make bench-user`."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from bench.machine import describe_machine, describe_versions
from bench.recorder.__main__ import line
from bench.result import RESULTS, Bar, Result, Row, median_row
from bench.user.hooks import hook_rows
from bench.user.maps import map_rows
from bench.user.opensnoop import opensnoop_rows
from bench.user.python_sites import python_site_rows
from bench.user.sites import site_rows
from bench.user.translated import measure
from wbpf.errors import WbpfError

PEER = "rbpf's JIT compiler, which checks nothing"
NATIVE = "the same source, compiled by clang -O2 for this machine"


def main() -> int:
    """Run; 1 if it can't be measured here."""
    parser = argparse.ArgumentParser(prog="python -m bench.user", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer slices: to see that it works")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--output", type=Path, help="where to write; a whole run goes to bench/results/user.json"
    )
    options = parser.parse_args()
    started = time.monotonic()
    try:
        rows = program_rows(measure(3 if options.quick else 40, options.seed))
        rows += site_rows(3 if options.quick else 40)
        rows += hook_rows(3 if options.quick else 20)
        rows += opensnoop_rows(3 if options.quick else 20)
        rows += python_site_rows(3 if options.quick else 21)
        rows += map_rows(3 if options.quick else 20)
    except WbpfError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for row in rows:
        print(line(row) + (f"  {row.ratio:.2f} × {row.baseline:.4g}" if row.ratio and row.baseline else ""))
    print(f"{len(rows)} rows in {time.monotonic() - started:.0f} s")
    path = options.output or (None if options.quick else RESULTS / "user.json")
    if path:
        Result(describe_machine(), describe_versions(), options.seed, rows).write(path)
        print(f"written to {path}; for docs/benchmarks.md: python -m bench.document")
    return 0


def program_rows(samples: dict[str, list[float]]) -> list[Row]:
    """A row for each program beside its native twin, and for each that a peer has; the geometric means."""
    rows, peers = [], []
    for name in sorted(name for name in samples if "/" not in name):
        native = statistics.median(samples[f"{name}/native"])
        bar = Bar(2 * native, "2 × native")
        row = median_row(f"program/{name}", "ns", samples[name], baseline=native, baseline_is=NATIVE, bar=bar)
        rows.append(row)
        if peer := samples.get(f"{name}/rbpf"):
            peers.append(
                median_row(f"peer/rbpf/{name}", "ns", peer, baseline=native, baseline_is=NATIVE, note=PEER)
            )
    mean = statistics.geometric_mean(row.ratio for row in rows if row.ratio)
    bar = Bar(1.1, "1.1 × native in the geometric mean")
    rows.append(Row("program/geomean", mean, "×", baseline=1.0, baseline_is=NATIVE, bar=bar))
    if peers:
        theirs = statistics.geometric_mean(row.ratio for row in peers if row.ratio)
        peers.append(Row("peer/rbpf/geomean", theirs, "×", baseline=1.0, baseline_is=NATIVE, note=PEER))
    return [*rows, *peers]


if __name__ == "__main__":
    sys.exit(main())
