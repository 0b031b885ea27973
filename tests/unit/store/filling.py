"""Fills stores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.unit.records.building import EPOCH_NS, SegmentWriter
from tests.unit.records.cluster import conclusion, part
from wbpf.records import Source
from wbpf.store import Store


def put_sources(store: Store, sources: Iterable[Source], pieces: bool = True) -> None:
    """Store what a collector receives for a trace, in the order in which it comes."""
    for source in sources:
        segment_id = source.segment.segment_id
        store.put_host(source.host)
        store.put_segment(source.segment)
        store.put_schemas(segment_id, source.descriptors)
        store.put_calibrations(segment_id, source.calibrations)
        for process in source.processes:
            store.put_process(segment_id, process.process, process.pid, process.name)
        if pieces:
            store.put_pieces(source.pieces)


def fill(store: Store, prefixes: Iterable[str], bytes_each: int = 100) -> list[bytes]:
    """Small concluded traces with these beginnings of their ids, a second apart, the first the oldest."""
    ids = []
    with store.batch():
        for i, prefix in enumerate(prefixes):
            trace_id = bytes.fromhex(prefix.ljust(31, "0") + "1")
            segment = SegmentWriter("host1")
            run = segment.run(trace_id, uses=i + 1).begin(1, 0, 10, "request")
            run.log("x" * bytes_each, 20).end(1, 30)
            run.done()
            put_sources(store, [segment.source()])
            store.conclude(
                replace(
                    conclusion(replace(part("host1"), records=3, bytes=len(run.data))),
                    trace_id=trace_id,
                    group_id=b"",
                    fired_unix_ns=EPOCH_NS + i * 10**9,
                )
            )
            ids.append(trace_id)
    return ids
