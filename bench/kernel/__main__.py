"""Measure, print, and write bench/results/kernel.json: `make bench-kernel`."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator

from bench.command import KERNEL, parser_of, run
from bench.kernel.run import measure
from bench.result import Row, median_row
from wbpf.bpf import features

RINGBUF = "BPF ring buffer, reserve and submit without wake-up, the same contents"
#: Row, its samples, what it is compared with, what that is.
ROWS = [
    ("kernel/event", "array/ring", "array/ringbuf_event", RINGBUF),
    (
        "kernel/event_in_trace",
        "array/ring_in_trace",
        "array/ringbuf_in_trace",
        f"{RINGBUF}, the trace found too",
    ),
    ("kernel/event_perf", "perf/ring", "array/ringbuf_event", RINGBUF),
    ("kernel/context", "array/context", None, ""),
    ("kernel/untraced", "unknown/context", None, ""),
]


def main() -> int:
    """Run; 1 if it can't be measured here."""
    options = parser_of("kernel").parse_args()
    return run("kernel", options, lambda: rows(options), (*KERNEL, features.have_fetch_add))


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """All rows."""
    samples = measure(rounds=8 if options.quick else 60, runs=100, seed=options.seed)
    for names in ROWS:
        yield row_of(*names, samples)


def row_of(
    name: str, key: str, baseline: str | None, baseline_is: str, samples: dict[str, list[float]]
) -> Row:
    """A row, beside the median of its baseline."""
    if baseline is None:
        return median_row(name, "ns", samples[key])
    return median_row(
        name, "ns", samples[key], baseline=statistics.median(samples[baseline]), baseline_is=baseline_is
    )


if __name__ == "__main__":
    sys.exit(main())
