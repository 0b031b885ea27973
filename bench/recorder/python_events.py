"""Recording from Python, beside the OpenTelemetry SDK."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from bench.build import BenchError
from bench.recorder.run import Run, slices_of
from bench.result import Bar, Row, median_row
from wbpf.recorder import Segment

SEGMENT_MIB = 320
BAR_NS = 200.0
NAMES = ["python/event", "python/span", "python/otel_span"]


def rows(run: Run) -> Iterator[Row]:
    """All rows named above; an event and a span have a string, a number and a string."""
    rounds = 10 if run.quick else 100
    with run.folder() as folder:
        lines = run.python("bench.recorder.python_slices", folder, SEGMENT_MIB, rounds, run.seed)
        check(folder / "bench/python.seg", lines[-1]["events"], lines[-1]["spans"], rounds + 1)
    slices = slices_of(lines)
    sdk = statistics.median(slices["otel_span", 1].samples)
    for name in NAMES:
        ours = not name.endswith("otel_span")
        measured = slices[name.removeprefix("python/"), 1]
        yield median_row(
            name,
            "ns",
            measured.samples,
            baseline=sdk if ours else None,
            baseline_is="python/otel_span" if ours else "",
            bar=Bar(BAR_NS, f"at most {BAR_NS:g} ns") if name == "python/event" else None,
            note="" if ours else f"OpenTelemetry SDK {version('opentelemetry-sdk')}, batch processor",
            facts={"repetitions": measured.per_slice},
        )


def check(path: Path, events: int, spans: int, slices: int) -> None:
    """All records were written, none cut.

    Raises:
        BenchError: not so.
    """
    with Segment.open(path) as segment:
        counters = segment.counters()
    # Around each of the slices of three operations stand a BEGIN and an END; a RESUME may start a chunk.
    least = events + 2 * spans + 2 * 3 * slices
    found = counters.resident_records + counters.recycled_records
    if (
        not least <= found <= least + spans + counters.chunks_used * 8
        or counters.refused
        or counters.truncated
    ):
        raise BenchError("records are missing", f"at least {least} were written: {counters}")
