"""Traces to export: a plain one, and one with all that is awkward."""

from __future__ import annotations

import math
from dataclasses import replace

from tests.unit.records.building import EPOCH_NS, SegmentWriter
from tests.unit.records.cluster import LATERAL, TRACE_ID, conclusion, part
from tests.unit.records.cluster import trace as plain
from wbpf.records import Status, Trace, assemble

__all__ = ["EPOCH_NS", "LATERAL", "TRACE_ID", "awkward", "lateral", "plain"]


def awkward() -> Trace:
    """Overlapping tasks on one thread, an unfinished span, an event outside of spans, values JSON lacks."""
    segment = SegmentWriter("host1", "tasks")
    run = segment.run(TRACE_ID).begin(1, 0, 0, "root")
    run.span_begin(2, 1, 10_000, "task_a").span_begin(3, 1, 20_000, "task_b")
    run.event(
        "values n:f64 i:f64 raw:bytes big:u64 flag:bool text:str",
        {
            "n": math.nan,
            "i": -math.inf,
            "raw": b"\0\xff",
            "big": (1 << 64) - 1,
            "flag": True,
            "text": "é\x1b[31m\n",
        },
        25_000,
    )
    run.send(0xE9, "host9", 3, 26_000)
    run.span_end(2, 30_000).span_end(3, 40_000).span_begin(4, 1, 50_000, "hangs").log(
        "waiting", 60_000
    ).done()
    other = segment.run(TRACE_ID, chunk=1, tid=12)
    other.event("lonely a:u8", {"a": 1}, 70_000).metric("rate", math.inf, 71_000).done()
    parts = (
        part("host1", Status.PARTIAL, "process 10 died", "host9 did not answer"),
        part("host9", Status.UNKNOWN),
    )
    return assemble(TRACE_ID, [segment.source()], conclusion(*parts))


def lateral() -> Trace:
    segment = SegmentWriter("host1", "front")
    segment.run(LATERAL, chunk=5).begin(0x77, 0, 500, "earlier_write").end(0x77, 900).done()
    concluded = replace(conclusion(part("host1")), trace_id=LATERAL, laterals=())
    return assemble(LATERAL, [segment.source()], concluded)
