"""From the pieces of a trace to the trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from wbpf.errors import FormatError
from wbpf.records.clocks import Calibration, Clock
from wbpf.records.codec import RawRecord, iter_run
from wbpf.records.conclusion import Conclusion, HostPart, Status, worst
from wbpf.records.context import span_id_hex
from wbpf.records.layout import Direction, Kind
from wbpf.records.order import clock_shifts, interpolate, merge
from wbpf.records.origin import HostInfo, ProcessInfo, SegmentInfo
from wbpf.records.piece import Piece, join
from wbpf.records.schema import parse_schemas
from wbpf.records.spans import build_spans, match_edges
from wbpf.records.trace import EdgeEnd, Record, RecordId, Trace, Trigger

_OPENS = (Kind.BEGIN, Kind.SPAN_BEGIN)
_CLOSES = (Kind.END, Kind.SPAN_END)
_DIRECTIONS = {direction.value: direction for direction in Direction}


@dataclass(slots=True)
class Source:
    """What one segment gave to a trace, and what it takes to understand it.

    Args:
        descriptors: of its schemas, by id.
    """

    host: HostInfo
    segment: SegmentInfo
    descriptors: Mapping[int, str] = field(default_factory=dict)
    calibrations: Sequence[Calibration] = ()
    processes: Sequence[ProcessInfo] = ()
    pieces: Sequence[Piece] = ()


@dataclass(slots=True)
class _Chunk:
    """What a trace has in one use of one chunk: its runs, decoded, in the order of writing."""

    source: Source
    part: int
    runs: list[tuple[Piece, list[RawRecord]]]


def assemble(
    trace_id: bytes,
    sources: Iterable[Source],
    conclusion: Conclusion | None = None,
    host_names: Mapping[int, str] | None = None,
) -> Trace:
    """Decode the pieces of a trace and put them together.

    Damaged pieces are used as far as they go; their host is then partial, with the reason.

    Args:
        trace_id: of the trace; all pieces are taken to be its own.
        sources: one a segment; those without pieces are left out.
        conclusion: None if the gather is not over, or there was none.
        host_names: names by id, for hosts that gave nothing themselves.
    """
    parts = [replace(part, records=0, bytes=0) for part in (conclusion.hosts if conclusion else ())]
    ordered = sorted(sources, key=lambda s: (s.host.name, s.segment.service, s.segment.segment_id))
    chunks = [
        chunk for source in ordered if source.pieces for chunk in _decode(source, parts, conclusion is None)
    ]
    names = dict(host_names or {})
    names.update((part.host_id, part.name) for part in parts)
    spans = _SpanTable(chunks)
    otherwise = conclusion.fired_unix_ns if conclusion else 0
    columns = [_column(chunk, parts, spans, names, otherwise) for chunk in chunks]
    _widen(chunks, parts)
    shifts = clock_shifts(columns, {part.name: part.uncertainty_ns for part in parts})
    for record in (record for column in columns for record in column):
        record.time_unix_ns = max(record.time_unix_ns + shifts.get(record.host, 0), 0)
    records = list(merge(columns))
    edges = match_edges(records, names)
    return Trace(
        trace_id=trace_id,
        trigger=_trigger(conclusion, records),
        group_id=conclusion.group_id if conclusion else b"",
        laterals=tuple(conclusion.laterals) if conclusion else _laterals(records),
        status=worst(part.status for part in parts),
        hosts=parts,
        records=records,
        roots=build_spans(records, edges),
        edges=edges,
        shifts_ns=shifts,
        concluded_unix_ns=conclusion.concluded_unix_ns if conclusion else 0,
    )


def _part_of(source: Source, parts: list[HostPart], open_gather: bool) -> int:
    """The index of the host's part, which is added if the conclusion does not name the host."""
    host = source.host
    for i, part in enumerate(parts):
        if (part.host_id, part.incarnation) == (host.host_id, host.incarnation):
            return i
    why = "its gathering has not concluded" if open_gather else "the conclusion does not name this host"
    parts.append(HostPart(host.name, host.host_id, host.incarnation, Status.UNKNOWN, (why,)))
    return len(parts) - 1


def _add_reason(parts: list[HostPart], i: int, reason: str, status: Status) -> None:
    part = parts[i]
    parts[i] = replace(part, status=worst((part.status, status)), reasons=(*part.reasons, reason))


def _decode(source: Source, parts: list[HostPart], open_gather: bool) -> list[_Chunk]:
    index = _part_of(source, parts, open_gather)
    schemas = parse_schemas(source.descriptors)
    chunks = []
    if not source.calibrations:
        reason = f"the times of {source.segment.service} are not known: its segment has no clock calibration"
        _add_reason(parts, index, reason, parts[index].status)
    for _, runs in groupby(join(source.pieces), key=lambda run: (run.chunk, run.uses)):
        chunk = _Chunk(source, index, [])
        for run in runs:
            raws: list[RawRecord] = []
            try:
                raws.extend(iter_run(run.data, schemas))
            except FormatError as error:
                reason = f"chunk {run.chunk} of {source.segment.service}: {error.what}: {error.why}"
                _add_reason(parts, index, reason, Status.PARTIAL)
            chunk.runs.append((run, raws))
            part = parts[index]
            parts[index] = replace(part, records=part.records + len(raws), bytes=part.bytes + len(run.data))
        chunks.append(chunk)
    return chunks


class _SpanTable:
    """Parents and names of all spans of the trace, and which of them are edges."""

    def __init__(self, chunks: Iterable[_Chunk]) -> None:
        self.parents: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.edges: set[int] = set()
        for raw in (raw for chunk in chunks for _, raws in chunk.runs for raw in raws):
            if raw.kind in _OPENS:
                self.parents.setdefault(raw.span_id, raw.parent_span_id)
                self.names.setdefault(raw.span_id, raw.name)
            elif raw.kind == Kind.BREADCRUMB:
                self.edges.add(raw.edge_span_id)

    def local_parent(self, span_id: int) -> int:
        parent = self.parents.get(span_id, 0)
        return 0 if parent in self.edges else parent


def _column(
    chunk: _Chunk, parts: Sequence[HostPart], spans: _SpanTable, names: Mapping[int, str], otherwise: int
) -> list[Record]:
    source, part = chunk.source, parts[chunk.part]
    programs = {process.pid: process.name for process in source.processes}
    times = _times(chunk, part, otherwise)
    column: list[Record] = []
    for run, raws in chunk.runs:
        current = 0
        outer: dict[int, int] = {}
        for raw in raws:
            span_id = current
            if raw.kind in _OPENS:
                outer[raw.span_id] = current
                span_id = current = raw.span_id
            elif raw.kind == Kind.RESUME:
                span_id = current = raw.span_id
            elif raw.kind in _CLOSES:
                span_id = raw.span_id
                current = outer.get(span_id) or spans.local_parent(span_id)
            elif raw.kind == Kind.BREADCRUMB and raw.direction == Direction.OUT:
                span_id = raw.parent_span_id or current
            edge = _edge_end(raw)
            column.append(
                Record(
                    kind=raw.kind,
                    level=raw.level,
                    name=raw.name or (spans.names.get(span_id, "") if raw.kind in _NAMED_BY_SPAN else ""),
                    time_unix_ns=times[len(column)],
                    stamped=raw.ticks is not None,
                    span_id=span_id,
                    parent_span_id=spans.parents.get(span_id, 0),
                    fields=_edge_fields(edge, names) if edge else raw.fields,
                    host=part.name,
                    service=source.segment.service,
                    process=programs.get(run.pid, ""),
                    pid=run.pid,
                    tid=run.tid,
                    edge=edge,
                    laterals=raw.laterals,
                    cut=raw.cut,
                    identity=RecordId(run.segment_id, run.chunk, run.uses, run.start_unit + raw.unit),
                )
            )
    return column


_NAMED_BY_SPAN = (*_CLOSES, Kind.RESUME)


def _clock(chunk: _Chunk, part: HostPart) -> Clock:
    source = chunk.source
    return Clock(source.calibrations, source.segment.ticks_hz, part.offset_ns, part.uncertainty_ns)


def _widen(chunks: Sequence[_Chunk], parts: list[HostPart]) -> None:
    """The conclusion says how sure a host's offset is; how sure the ticks are adds to that."""
    widest: dict[int, int] = {}
    for chunk in chunks:
        part = parts[chunk.part]
        ticks = [raw.ticks for _, raws in chunk.runs for raw in raws if raw.ticks is not None]
        if part.uncertainty_ns and ticks and chunk.source.calibrations:
            uncertainty_ns = _clock(chunk, part).uncertainty_ns(min(ticks), max(ticks))
            widest[chunk.part] = max(widest.get(chunk.part, 0), uncertainty_ns)
    for i, uncertainty_ns in widest.items():
        parts[i] = replace(parts[i], uncertainty_ns=uncertainty_ns)


def _times(chunk: _Chunk, part: HostPart, otherwise: int) -> list[int]:
    ticks = [raw.ticks for _, raws in chunk.runs for raw in raws]
    try:
        clock = _clock(chunk, part)
    except FormatError:
        return [otherwise] * len(ticks)  # said among the host's reasons
    return interpolate([None if tick is None else clock.unix_ns(tick) for tick in ticks], otherwise)


def _edge_end(raw: RawRecord) -> EdgeEnd | None:
    direction = _DIRECTIONS.get(raw.direction) if raw.kind == Kind.BREADCRUMB else None
    return EdgeEnd(direction, raw.peer_host_id, raw.edge_span_id) if direction else None


def _edge_fields(edge: EdgeEnd, names: Mapping[int, str]) -> dict[str, str | int | float | bool | bytes]:
    peer = names.get(edge.peer_host_id) or (f"{edge.peer_host_id:016x}" if edge.peer_host_id else "")
    return {"direction": edge.direction.name.lower(), "peer": peer, "edge": span_id_hex(edge.edge_span_id)}


def _trigger(conclusion: Conclusion | None, records: Iterable[Record]) -> Trigger | None:
    if conclusion is not None:
        return Trigger(
            conclusion.trigger_name,
            conclusion.trigger_value,
            conclusion.trigger_host,
            conclusion.fired_unix_ns,
        )
    for record in records:
        if record.kind == Kind.TRIGGER:
            value = record.fields["value"]
            return Trigger(
                record.name,
                float(value) if isinstance(value, float) else 0.0,
                record.host,
                record.time_unix_ns,
            )
    return None


def _laterals(records: Iterable[Record]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(lateral for record in records for lateral in record.laterals))
