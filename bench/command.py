"""What the benchmarks' commands share: measure, print, and write bench/results/NAME.json."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.machine import describe_machine, describe_versions
from bench.result import RESULTS, Result, Row
from wbpf.bpf import features
from wbpf.errors import WbpfError

#: What benchmarks of the kernel's eBPF need.
KERNEL = (features.have_libbpf, features.have_privileges, features.have_kernel_btf)


def parser_of(name: str) -> argparse.ArgumentParser:
    """What every benchmark's command line takes."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=f"Measure, print, and write bench/results/{name}.json."
    )
    parser.add_argument("--quick", action="store_true", help="fewer samples: to see that it works")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--output", type=Path, help=f"where to write; a whole run goes to bench/results/{name}.json"
    )
    return parser


def run(
    name: str,
    options: argparse.Namespace,
    rows: Callable[[], Iterable[Row]],
    needs: Iterable[Callable[[], features.Answer]] = (),
    whole: bool = True,
) -> int:
    """Print rows as they come, and write them; 1 if it can't be measured here.

    Args:
        name: the benchmark's.
        options: what `parser_of` has parsed.
        rows: what measures; its errors end the run.
        needs: probes of what it can't do without.
        whole: all rows are measured: without `--quick` they become the benchmark's results.
    """
    for have in needs:
        answer = have()
        if not answer:
            print(f"bench: needs {answer.what}: {answer.why}\n  try: {answer.hint}", file=sys.stderr)
            return 1
    machine, versions, started = describe_machine(), describe_versions(), time.monotonic()
    done: list[Row] = []
    try:
        for row in rows():
            done.append(row)
            print(line(row), flush=True)
    except WbpfError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    missed = ", ".join(row.name for row in done if row.met is False)
    print(f"{len(done)} rows in {time.monotonic() - started:.0f} s; bars missed: {missed or 'none'}")
    path = options.output or (RESULTS / f"{name}.json" if whole and not options.quick else None)
    if path:
        Result(machine, versions, options.seed, done).write(path)
        print(f"written to {path}; for docs/benchmarks.md: python -m bench.document")
    return 0


def line(row: Row) -> str:
    """A row for people."""
    value = "-" if row.value is None else f"{row.value:.4g}"
    text = f"{row.name:32}{value:>9} {row.unit:4}"
    if row.bar and row.met is not None:
        text += f"  {'met   ' if row.met else 'MISSED'}  {row.bar.says} ({row.bar.limit:.4g})"
    if row.note:
        text += f"  [{row.note}]"
    return text + (f"  {row.ratio:.2f} × {row.baseline:.4g}" if row.ratio and row.baseline else "")
