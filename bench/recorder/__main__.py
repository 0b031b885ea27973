"""Measure, print, and write bench/results/recorder.json: `make bench-recorder`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from bench.build import build_programs
from bench.machine import describe_machine, describe_versions
from bench.recorder import agent, append, gather, lttng, python_events, search, space
from bench.recorder.run import Run
from bench.result import RESULTS, Result, Row
from wbpf.errors import WbpfError

Part = tuple[list[str], Callable[[Run], Iterator[Row]]]
PARTS: list[Part] = [
    *((append.EVENT_NAMES[size], partial(append.rows_of_events, size=size)) for size in append.PAYLOADS),
    (append.TRACE_NAMES, append.rows_of_traces),
    (lttng.NAMES, lttng.rows),
    (space.NAMES, space.rows),
    (search.NAMES, search.rows),
    (python_events.NAMES, python_events.rows),
    (agent.NAMES, agent.rows),
    (gather.NAMES, gather.rows),
]


def main() -> int:
    """Run what was asked for; 1 if something could not be measured."""
    options = arguments().parse_args()
    started = time.monotonic()
    machine, versions = describe_machine(), describe_versions()
    try:
        run = Run(
            programs=build_programs(),
            seed=options.seed,
            rounds=8 if options.quick else 60,
            slice_us=1000 if options.quick else 3000,
            quick=options.quick,
        )
    except WbpfError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    rows: list[Row] = []
    failed = False
    for names, measure in PARTS:
        wanted = [name for name in names if fnmatchcase(name, options.only)]
        try:
            for row in measure(run) if wanted else ():
                if row.name in wanted:
                    rows.append(row)
                    print(line(row), flush=True)
        except WbpfError as error:
            failed = True
            print(f"bench: {error}", file=sys.stderr)
            there = {row.name for row in rows}
            rows += [
                Row(name, None, "", note=f"{error.what}: {error.why}") for name in wanted if name not in there
            ]
    whole = options.only == "*" and not options.quick
    path = options.output or (RESULTS / "recorder.json" if whole else None)
    missed = [row.name for row in rows if row.met is False]
    print(
        f"{len(rows)} rows in {time.monotonic() - started:.0f} s; bars missed: {', '.join(missed) or 'none'}"
    )
    if path:
        Result(machine, versions, options.seed, rows).write(path)
        print(f"written to {path}; for docs/benchmarks.md: python -m bench.document")
    return 1 if failed else 0


def arguments() -> argparse.ArgumentParser:
    """What the command line takes."""
    parser = argparse.ArgumentParser(prog="python -m bench.recorder", description=__doc__)
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="rows whose name matches, e.g. 'event/*/1t'"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter slices: to see that it works")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--output", type=Path, help="where to write; a whole run goes to bench/results/recorder.json"
    )
    return parser


def line(row: Row) -> str:
    """A row for people."""
    value = "-" if row.value is None else f"{row.value:.4g}"
    text = f"{row.name:32}{value:>9} {row.unit:4}"
    if row.bar and row.met is not None:
        text += f"  {'met   ' if row.met else 'MISSED'}  {row.bar.says} ({row.bar.limit:.4g})"
    return f"{text}  [{row.note}]" if row.note else text


if __name__ == "__main__":  # applications are spawned, and import this
    sys.exit(main())
