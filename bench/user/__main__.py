"""Measure, print, and write bench/results/user.json: `make bench-user`."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator

from bench.command import parser_of, run
from bench.result import Bar, Row, median_row
from bench.user.hooks import hook_rows
from bench.user.maps import map_rows
from bench.user.opensnoop import opensnoop_rows
from bench.user.python_sites import python_site_rows
from bench.user.sites import site_rows
from bench.user.translated import measure
from bench.user.verified import verifier_rows

PEER = "rbpf's JIT compiler, which checks nothing"
NATIVE = "the same source, compiled by clang -O2 for this machine"


def main() -> int:
    """Run; 1 if it can't be measured here."""
    options = parser_of("user").parse_args()
    return run("user", options, lambda: rows(options))


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    yield from program_rows(measure(3 if options.quick else 40, options.seed))
    yield from site_rows(3 if options.quick else 40)
    yield from hook_rows(3 if options.quick else 20)
    yield from opensnoop_rows(3 if options.quick else 20)
    yield from python_site_rows(3 if options.quick else 21)
    yield from map_rows(3 if options.quick else 20)
    yield from verifier_rows(10_000 if options.quick else 1_000_000)


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
