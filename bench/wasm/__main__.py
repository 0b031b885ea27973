"""Measure, print, and write bench/results/wasm.json: `make bench-wasm`."""

from __future__ import annotations

import statistics
import sys

from bench.command import KERNEL, parser_of, run
from bench.result import Bar, Row, median_row
from bench.wasm.run import (
    Programs,
    Samples,
    build,
    highest_lossless_rate,
    live,
    measure_maps,
    measure_rings,
    measure_startup,
)

NATIVE = "C with libbpf"


def main() -> int:
    """Run; 1 if it can't be measured here."""
    options = parser_of("wasm").parse_args()
    return run("wasm", options, lambda: measure(build(), options.quick), KERNEL)


def measure(programs: Programs, quick: bool) -> list[Row]:
    """All rows."""
    guest, native = measure_startup(programs, 3 if quick else 15)
    rows = [
        _row("startup/warm", "ms", guest["warm"], native["warm"], 1.5),
        _row("startup/cold", "ms", guest["cold"], native["warm"], None, "the module is compiled anew"),
    ]
    maps = measure_maps(programs, 4 if quick else 40, 20)
    rows += [
        _of(f"map/{name}", "ns", name, maps, 1.15) for name in ("lookup", "update", "delete", "next_key")
    ]
    rings = measure_rings(programs, 2 if quick else 8, 6 if quick else 12)
    rows += [
        _row("ring/in_place", "ns", rings["in_place"], rings["native"], 1.1),
        _row("ring/batch", "ns", rings["batch"], rings["native"], 2.2),
        _live(programs, 0.2 if quick else 0.4),
        _row("memory", "KiB", guest["memory"], native["memory"], None, "proportional set size when attached"),
    ]
    rows += [_of(name, "µs", name, (guest, native), None) for name in ("load", "attach", "detach")]
    return rows


def _of(row: str, unit: str, name: str, samples: tuple[Samples, Samples], limit: float | None) -> Row:
    return _row(row, unit, samples[0][name], samples[1][name], limit)


def _row(
    name: str, unit: str, guest: list[float], native: list[float], limit: float | None, note: str = ""
) -> Row:
    baseline = statistics.median(native)
    bar = Bar(limit * baseline, f"{limit} × native") if limit else None
    return median_row(name, unit, guest, baseline=baseline, baseline_is=NATIVE, bar=bar, note=note)


def _live(programs: Programs, seconds: float) -> Row:
    """Events lost at nine tenths of what the native consumer takes without loss."""
    highest, is_producers = highest_lossless_rate(programs, seconds)
    runs = [live(programs, True, 0.9 * highest, seconds) for _ in range(3)]
    rate = statistics.median(run.rate for run in runs)
    note = f"events lost at {rate:,.0f} a second, 0.9 of the native consumer's highest rate without loss"
    if is_producers:
        note += ", which is as fast as the producer can call"
    lost = [float(run.lost) for run in runs]
    return Row("ring/live", sum(lost), "events", lost, bar=Bar(0, "none"), note=note, facts={"rate": rate})


if __name__ == "__main__":
    sys.exit(main())
