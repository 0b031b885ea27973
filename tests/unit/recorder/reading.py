"""What a segment holds, decoded: by the reader and `wbpf.records`, as an agent does it."""

from __future__ import annotations

import os
from pathlib import Path

from wbpf.recorder import Counters, Segment, Watch
from wbpf.records import (
    HostInfo,
    Piece,
    ProcessInfo,
    Record,
    SegmentInfo,
    Source,
    Trace,
    assemble,
    parse_trace_id,
)
from wbpf.records.layout import Kind

NO_TRACE = bytes(16)


def source_of(path: str | os.PathLike[str], *trace_ids: bytes) -> Source:
    """All of a segment, or what it has of some traces, as a source of assemble()."""
    with Segment.open(path) as segment:
        watch = Watch(segment)
        if trace_ids:
            watch.add(trace_ids)
            found, _ = watch.poll()
        else:
            found = list(watch.dump())
        pids = {process.index: process.pid for process in segment.processes()}
        return Source(
            host=HostInfo(segment.host_id, segment.incarnation, segment.host),
            segment=SegmentInfo(
                segment.segment_id,
                segment.host_id,
                segment.incarnation,
                segment.service,
                segment.ticks_hz,
                segment.clock_kind,
            ),
            descriptors=dict(segment.schemas()[1]),
            calibrations=segment.calibrations(),
            processes=[ProcessInfo(p.index, p.pid, p.name) for p in segment.processes()],
            pieces=[
                Piece(
                    piece.trace_id,
                    segment.segment_id,
                    piece.chunk,
                    piece.uses,
                    piece.start_unit,
                    piece.tid,
                    pids[piece.process],
                    piece.starts_run,
                    piece.data,
                )
                for piece in found
                if piece.data
            ],
        )


def trace_ids(path: str | os.PathLike[str]) -> set[bytes]:
    """All traces in a segment, but what belongs to none."""
    return {piece.trace_id for piece in source_of(path).pieces} - {NO_TRACE}


def read_trace(path: str | os.PathLike[str], trace_id: str | bytes) -> Trace:
    """One trace of a segment; zeros for what belongs to none."""
    wanted = parse_trace_id(trace_id) if isinstance(trace_id, str) else trace_id
    source = source_of(path) if wanted == NO_TRACE else source_of(path, wanted)
    source.pieces = [piece for piece in source.pieces if piece.trace_id == wanted]
    return assemble(wanted, [source])


def read_only_trace(path: str | os.PathLike[str]) -> Trace:
    """The one trace of a segment."""
    (trace_id,) = trace_ids(path)
    return read_trace(path, trace_id)


def check_counters(path: str | os.PathLike[str]) -> Counters:
    """How tests end that write, while nobody does: the counters say what the reader finds.

    Returns:
        The counters, for what the test knows of refused, truncated and recycled ones.
    """
    with Segment.open(path) as segment:
        counters = segment.counters()
        found = sum(piece.records for piece in Watch(segment).dump())
        assert counters.resident_records == found
        assert counters.lost_until_ticks == 0 or counters.recycled_records > 0
        assert counters.refused == sum(process.refused for process in segment.processes())
        return counters


def check_all_counters(directory: Path) -> None:
    """Of all segments in the folder of a cluster."""
    for path in directory.glob("*/*.seg"):
        check_counters(path)


def events(trace: Trace) -> list[Record]:
    return [record for record in trace.records if record.kind == Kind.EVENT]


def kinds(trace: Trace) -> list[str]:
    return [record.kind_name for record in trace.records]


def segment_in(directory: Path, host: str = "host1", service: str = "shop") -> Path:
    return directory / host / f"{service}.seg"
