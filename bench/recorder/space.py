"""Bytes that a trace takes with all that it needs: records, directory, what a chunk leaves unused.

A trace here is a begin, two stamped events of 64 bytes, and an end.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.build import BenchError
from bench.recorder.run import Run
from bench.result import Bar, Row

SEGMENT_MIB = 64
TRACES = 150_000
NAMES = ["space/trace", "space/trace_alternating"]
BARS = {"space/trace": 300.0, "space/trace_alternating": 350.0}
MODES = {"space/trace": "one", "space/trace_alternating": "two"}


def rows(run: Run) -> Iterator[Row]:
    """All rows named above."""
    for name in NAMES:
        with run.folder() as folder:
            (written,) = run.program("space", folder, SEGMENT_MIB, TRACES, run.seed, MODES[name])
            (found,) = run.program("verify", written["segment"], run.seed, 64)
        if found["refused"] or found["truncated"] or found["recycled"] or found["begins"] != TRACES:
            raise BenchError("not all traces are in the segment", str(found))
        if found["ends"] != TRACES or found["events"] != 2 * TRACES:
            raise BenchError("traces have other records than were written", str(found))
        value = found["chunks_used"] * found["chunk_stride"] / TRACES
        yield Row(
            name,
            value,
            "B",
            [value],
            bar=Bar(BARS[name], f"at most {BARS[name]:g} B"),
            note="chunks used × 64 KiB / traces",
            facts={"records_and_directory": found["used_bytes"] / TRACES, "traces": TRACES},
        )
