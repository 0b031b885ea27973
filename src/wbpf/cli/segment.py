"""`wbpf segment`: what is in a segment, of a live service or in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wbpf.cli.output import (
    Column,
    FieldsOption,
    Output,
    OutputOption,
    note,
    print_data,
    print_next,
    print_rows,
)
from wbpf.cli.wording import duration, fields_text, moment, size
from wbpf.errors import FormatError, SegmentError

if TYPE_CHECKING:
    from wbpf.recorder import Piece, Segment
    from wbpf.records import RawRecord

app = typer.Typer(no_args_is_help=True, help="Look into a segment: of a live service, in a pool, or a file.")

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The segment: $WBPF_DIR/HOST/SERVICE.seg.")
]

_COLUMNS = (
    Column("time_unix_ns", shown=False, right=True),
    Column("time"),
    Column("trace_id", text=lambda value: value[:12]),
    Column("pid", shown=False, right=True),
    Column("tid", right=True),
    Column("kind"),
    Column("level", shown=False),
    Column("name"),
    Column("span_id", shown=False),
    Column("fields", text=fields_text),
    Column("id", shown=False),
)


@app.command()
def dump(
    file: FileArgument,
    trace: Annotated[str | None, typer.Option(metavar="ID", help="Only the records of this trace.")] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="So many at most, of the newest runs.")] = None,
    output: OutputOption = Output.COLUMNS,
    fields: FieldsOption = None,
) -> None:
    """Print the records of a segment, the oldest run first. Records without a stamp have no time."""
    from wbpf.recorder import Watch
    from wbpf.records import parse_trace_id

    with _opened(file) as segment:
        watch = Watch(segment)
        if trace is None:
            pieces = list(watch.dump())
        else:
            watch.add([parse_trace_id(trace)])
            pieces, _ = watch.poll()
        print_rows(_rows(segment, pieces, limit), _COLUMNS, output, fields)
    if not pieces:
        note("no such records: none was written, or they were overwritten")
    print_next(f"wbpf segment info {file}")


def _opened(file: Path) -> Segment:
    from wbpf.recorder import Segment

    if os.path.isdir(file):  # noqa: PTH112 - Path.is_dir raises where this user may not look
        raise SegmentError(f"{file} is a folder", "", "name a .seg file: HOST/SERVICE.seg in $WBPF_DIR")
    return Segment.open(file)


def _rows(segment: Segment, pieces: Iterable[Piece], limit: int | None) -> Iterator[dict[str, Any]]:
    from wbpf.records import iter_run, parse_schemas, tick_range

    schemas = parse_schemas(dict(segment.schemas()[1]))
    pids = {process.index: process.pid for process in segment.processes()}
    runs = sorted(pieces, key=lambda piece: tick_range(piece.data) or (0, 0))
    skip = 0
    if limit is not None:
        skip = sum(piece.records for piece in runs) - limit
    for piece in runs:
        if skip >= piece.records:
            skip -= piece.records
            continue
        span = 0
        try:
            for raw in iter_run(piece.data, schemas):
                span = raw.span_id or span
                if skip <= 0:
                    yield _row(segment, piece, raw, span, pids.get(piece.process, 0))
                skip -= 1
        except FormatError as error:
            note(f"chunk {piece.chunk}, unit {piece.start_unit}: {error}")


def _row(segment: Segment, piece: Piece, raw: RawRecord, span: int, pid: int) -> dict[str, Any]:
    from wbpf.export import plain_fields
    from wbpf.records import severity, span_id_hex
    from wbpf.records.layout import Direction, Kind

    fields = plain_fields(raw.fields)
    if raw.parent_span_id:
        fields["parent"] = span_id_hex(raw.parent_span_id)
    if raw.kind == Kind.BREADCRUMB:
        fields["direction"] = "out" if raw.direction == Direction.OUT else "in"
        fields["peer_host_id"] = f"{raw.peer_host_id:016x}"
        fields["edge"] = span_id_hex(raw.edge_span_id)
    for i, lateral in enumerate(raw.laterals):
        fields[f"lateral{i}"] = lateral.hex()
    time = segment.ticks_to_unix_ns(raw.ticks) if raw.ticks is not None else None
    return {
        "time_unix_ns": time,
        "time": moment(time) if time else "",
        "trace_id": piece.trace_id.hex() if any(piece.trace_id) else "",
        "pid": pid,
        "tid": piece.tid,
        "kind": raw.kind_name,
        "level": severity(raw.kind, raw.level),
        "name": raw.name,
        "span_id": span_id_hex(span) if span else "",
        "fields": fields,
        "id": f"{segment.segment_id:016x}:{piece.chunk}:{piece.uses}:{piece.start_unit + raw.unit}",
    }


@app.command()
def info(file: FileArgument, output: OutputOption = Output.COLUMNS) -> None:
    """Say whose segment it is, how far back it reaches, and what it has taken and lost."""
    with _opened(file) as segment:
        facts = _facts(segment)
    if output is not Output.COLUMNS:
        print_data(facts, output)
        return
    counters, live = facts["counters"], [p for p in facts["processes"] if p["alive"]]
    said = {
        "segment": f"{facts['segment_id']} of {facts['service']} on {facts['host']}",
        "made": moment(facts["created_unix_ns"]),
        "size": f"{size(facts['size_bytes'])}, {facts['chunk_count']} chunks of {size(facts['chunk_bytes'])}",
        "clock": f"{facts['clock']}, {facts['ticks_hz']} Hz, {facts['calibrations']} calibrations",
        "schemas": str(facts["schemas"]),
        "processes": ", ".join(f"{p['name']} ({p['pid']})" for p in live) or "none alive",
        "written": f"{counters['resident_records'] + counters['recycled_records']} records",
        "resident": f"{counters['resident_records']} records, {size(counters['resident_bytes'])}",
        "reaches back": duration(int(facts["horizon_s"] * 1e9)) if facts["horizon_s"] is not None else "-",
        "refused": str(counters["refused"]),
        "truncated": str(counters["truncated"]),
        "triggers dropped": str(counters["triggers_dropped"]),
    }
    rows = [{"what": what, "is": text} for what, text in said.items()]
    print_rows(rows, [Column("what"), Column("is")])
    print_next(f"wbpf segment dump {file} --limit 50")


def _facts(segment: Segment) -> dict[str, Any]:
    from wbpf.records.layout import Clock

    counters = segment.counters()
    horizon_s = None
    if counters.oldest_ticks:
        now, oldest = (segment.ticks_to_unix_ns(t) for t in (segment.now_ticks(), counters.oldest_ticks))
        horizon_s = max(now - oldest, 0) / 1e9
    return {
        "path": str(segment.path),
        "segment_id": f"{segment.segment_id:016x}",
        "host": segment.host,
        "host_id": f"{segment.host_id:016x}",
        "incarnation": f"{segment.incarnation:016x}",
        "service": segment.service,
        "created_unix_ns": segment.created_unix_ns,
        "size_bytes": segment.size_bytes,
        "chunk_bytes": segment.chunk_bytes,
        "chunk_count": segment.chunk_count,
        "clock": Clock(segment.clock_kind).name.lower(),
        "ticks_hz": segment.ticks_hz,
        "calibrations": len(segment.calibrations()),
        "schemas": len(segment.schemas()[1]),
        "horizon_s": horizon_s,
        "counters": asdict(counters),
        "processes": [asdict(process) for process in segment.processes()],
    }
