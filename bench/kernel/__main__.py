"""Measure, print, and write bench/results/kernel.json: `make bench-kernel`."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from bench.kernel.run import measure
from bench.machine import describe_machine, describe_versions
from bench.recorder.__main__ import line
from bench.result import RESULTS, Result, Row, median_row
from wbpf.bpf import features
from wbpf.errors import WbpfError

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
    parser = argparse.ArgumentParser(prog="python -m bench.kernel", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer slices: to see that it works")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--output", type=Path, help="where to write; a whole run goes to bench/results/kernel.json"
    )
    options = parser.parse_args()
    for have in (
        features.have_libbpf,
        features.have_privileges,
        features.have_kernel_btf,
        features.have_fetch_add,
    ):
        answer = have()
        if not answer:
            print(f"bench: needs {answer.what}: {answer.why}\n  try: {answer.hint}", file=sys.stderr)
            return 1
    started = time.monotonic()
    try:
        samples = measure(rounds=8 if options.quick else 60, runs=100, seed=options.seed)
    except WbpfError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    rows = [row_of(*names, samples) for names in ROWS]
    for row in rows:
        print(line(row) + (f"  {row.ratio:.2f} × {row.baseline:.4g}" if row.ratio and row.baseline else ""))
    print(f"{len(rows)} rows in {time.monotonic() - started:.0f} s")
    path = options.output or (None if options.quick else RESULTS / "kernel.json")
    if path:
        Result(describe_machine(), describe_versions(), options.seed, rows).write(path)
        print(f"written to {path}; for docs/benchmarks.md: python -m bench.document")
    return 0


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
