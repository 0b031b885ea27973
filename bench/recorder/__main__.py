"""Measure, print, and write bench/results/recorder.json: `make bench-recorder`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial

from bench.build import build_programs
from bench.command import parser_of, run
from bench.recorder import agent, append, gather, lttng, python_events, search, space
from bench.recorder.profile import profile
from bench.recorder.run import Run
from bench.result import Row
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
    parser = parser_of("recorder")
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="rows whose name matches, e.g. 'event/*/1t'"
    )
    parser.add_argument(
        "--profile",
        choices=["gather"],
        help="instead of measuring, tell where the time goes (by eBPF: needs root, and wbpf[build])",
    )
    options = parser.parse_args()
    if options.profile:
        return show_profile(options)
    failures: list[WbpfError] = []
    status = run("recorder", options, lambda: rows(options, failures), whole=options.only == "*")
    return 1 if failures else status


def rows(options: argparse.Namespace, failures: list[WbpfError]) -> Iterator[Row]:
    """The rows wanted; those of a part that fails have no value, and the others still come."""
    settings = settings_of(options)
    for names, measure in PARTS:
        missing = [name for name in names if fnmatchcase(name, options.only)]
        try:
            for row in measure(settings) if missing else ():
                if row.name in missing:
                    missing.remove(row.name)
                    yield row
        except WbpfError as error:
            failures.append(error)
            print(f"bench: {error}", file=sys.stderr)
            for name in missing:
                yield Row(name, None, "", note=f"{error.what}: {error.why}")


def settings_of(options: argparse.Namespace) -> Run:
    """Those of a run, with its programs built.

    Raises:
        BenchError: the compiler refused.
    """
    return Run(
        programs=build_programs(),
        seed=options.seed,
        rounds=8 if options.quick else 60,
        slice_us=1000 if options.quick else 3000,
        quick=options.quick,
    )


def show_profile(options: argparse.Namespace) -> int:
    """Print where the time of gatherings goes; 1 if that could not be found out."""
    try:
        print(profile(settings_of(options)))
    except WbpfError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":  # applications are spawned, and import this
    sys.exit(main())
