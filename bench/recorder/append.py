"""Events against memcpy, begin and end against the clock."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from bench.build import BenchError
from bench.recorder.run import SEGMENT_MIB, Run, Slices, slices_of
from bench.result import Bar, Row, median_row

PAYLOADS = (8, 64, 256, 1024)
THREADS = (1, 2)
MEMCPY_NS = 5.0
STAMP_NS = 1.0
BEGIN_END_NS = 15.0
TWO_THREADS = 1.1
HEADER_BYTES, STAMPED_BYTES, BEGIN_BYTES, END_BYTES, RESUME_BYTES = 8, 16, 40, 24, 24

EVENT_NAMES = {
    size: [f"{kind}/{size}B/{t}t" for kind in ("memcpy", "event", "event_stamped") for t in THREADS]
    for size in PAYLOADS
}
TRACE_NAMES = [*(f"begin_end/{t}t" for t in THREADS), "clock_read"]


def rows_of_events(run: Run, size: int) -> Iterator[Row]:
    """All rows of one size of payload."""
    yield from event_rows(f"{size}B", measure(run, size))


def rows_of_traces(run: Run) -> Iterator[Row]:
    """Begin with end, and the clock."""
    slices = measure(run, None)
    yield from begin_end_rows(slices)
    clock = slices["clock_read", 1]
    yield median_row("clock_read", "ns", clock.samples, facts=clock.facts)


def measure(run: Run, payload: int | None) -> dict[tuple[str, int], Slices]:
    """Run `append` for events of a size, or for traces without one, and check what it left in its segment."""
    mode = ["event", payload] if payload else ["begin_end"]
    with run.folder() as folder:
        lines = run.program("append", folder, SEGMENT_MIB, run.rounds, run.slice_us, run.seed, *mode)
        (found,) = run.program("verify", lines[-1]["segment"], run.seed, payload or 8)
    check(lines[-1], found, payload or 0)
    return slices_of(lines)


def check(written: dict[str, Any], found: dict[str, Any], payload: int) -> None:
    """Nothing was dropped, and what is still in the segment is each thread's last numbers without a gap.

    Both the records and their bytes must add up with one and the same number of RESUME records, one of which
    stands at the start of each chunk that a thread took in the middle of a trace.

    Raises:
        BenchError: anything else.
    """
    total = {key: sum(thread[key] for thread in written["threads"]) for key in written["threads"][0]}
    plain = total["events"] - total["stamped"]
    records = total["begins"] + total["ends"] + total["events"]
    size = BEGIN_BYTES * total["begins"] + END_BYTES * total["ends"]
    size += (payload + HEADER_BYTES) * plain + (payload + STAMPED_BYTES) * total["stamped"]
    resumes = found["resident"] + found["recycled"] - records
    if found["refused"] or found["truncated"]:
        raise BenchError("records were refused or cut", str(found))
    if not 0 <= resumes <= found["chunks_taken"] or found["found"] != found["resident"]:
        raise BenchError("there are not as many records as were written", f"{records}: {found}")
    if found["resident_bytes"] + found["recycled_bytes"] != size + RESUME_BYTES * resumes:
        raise BenchError("the records' bytes do not add up", f"{size}: {found}")
    for wrote, thread in zip(written["threads"], found["threads"], strict=True):
        gap = thread["count"] and thread["last"] - thread["first"] + 1 != thread["count"]
        if gap or (wrote["events"] and thread["last"] != wrote["events"] - 1):
            raise BenchError("events are missing", f"{wrote} was written, {thread} was found")


def event_rows(size: str, slices: dict[tuple[str, int], Slices]) -> Iterator[Row]:
    """memcpy, event and event_stamped for one size of payload."""
    clock = statistics.median(slices["clock_read", 1].samples)
    copy = {t: statistics.median(slices["memcpy", t].samples) for t in THREADS}
    for t in THREADS:
        yield median_row(
            f"memcpy/{size}/{t}t", "ns", slices["memcpy", t].samples, facts=slices["memcpy", t].facts
        )
    for kind, extra, says in (
        ("event", MEMCPY_NS, f"memcpy + {MEMCPY_NS:g} ns"),
        (
            "event_stamped",
            MEMCPY_NS + clock + STAMP_NS,
            f"memcpy + {MEMCPY_NS:g} ns + a clock read + {STAMP_NS:g} ns",
        ),
    ):
        one = statistics.median(slices[kind, 1].samples)
        for t in THREADS:
            measured = slices[kind, t]
            yield median_row(
                f"{kind}/{size}/{t}t",
                "ns",
                measured.samples,
                baseline=copy[t],
                baseline_is=f"memcpy/{size}/{t}t",
                bar=bar(t, copy[t] + extra, says, one),
                note=bandwidth_note(t, copy),
                facts=measured.facts,
            )


def begin_end_rows(slices: dict[tuple[str, int], Slices]) -> Iterator[Row]:
    """A begin with its end, for one thread and for two."""
    clock = statistics.median(slices["clock_read", 1].samples)
    one = statistics.median(slices["begin_end", 1].samples)
    for t in THREADS:
        yield median_row(
            f"begin_end/{t}t",
            "ns",
            slices["begin_end", t].samples,
            baseline=2 * clock,
            baseline_is="2 × clock_read",
            bar=bar(t, 2 * clock + BEGIN_END_NS, f"2 clock reads + {BEGIN_END_NS:g} ns", one),
            facts=slices["begin_end", t].facts,
        )


def bar(threads: int, limit: float, says: str, one: float) -> Bar:
    """The lower of two bars for two threads: the one of one thread, and 1.1 × what one thread takes."""
    if threads == 1 or limit <= TWO_THREADS * one:
        return Bar(limit, f"at most {says}")
    return Bar(TWO_THREADS * one, f"at most {TWO_THREADS:g} × one thread")


def bandwidth_note(threads: int, copy: dict[int, float]) -> str:
    """Memory may not bear two threads as it bears one: then no recorder can."""
    if threads == 1 or copy[2] <= TWO_THREADS * copy[1]:
        return ""
    return f"memcpy alone takes {copy[2] / copy[1]:.2f} × as long on two threads as on one"
