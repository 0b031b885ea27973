"""A trace as a picture for the terminal: hosts side by side, time going down, arrows between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from wbpf.cli.lanes import CLOSES, OPENS, Cells, Lanes
from wbpf.cli.output import visible
from wbpf.cli.wording import (
    STATUS_STYLES,
    Wording,
    Words,
    duration,
    fields_text,
    is_pool,
    level_style,
    moment,
    size,
)
from wbpf.records import Edge, Record, RecordId, Span, Trace
from wbpf.records.layout import Direction, Kind, Level

Notes = Mapping[RecordId, str] | Callable[[Record], str | None]

_ARROW_STYLE, _STALE_STYLE, _POOL_STYLE = "bold", "bold red", "bold cyan"
_TIME_WIDTH = 11
_TEXT_LINES = 3
#: Events of at least this rank are put together when more than so many follow each other.
_REPEATABLE, _SERIES = 2, 3
#: A wait of at least this share of the whole trace is shown as a row of its own.
_GAP = 0.15


def render(
    trace: Trace, width: int, notes: Notes | None = None, max_rows: int | None = None
) -> RenderableType:
    """Draw a trace.

    Args:
        trace: what to draw.
        width: of the terminal, in columns; it is drawn for 80 to 160.
        notes: what to add below records, by their identity.
        max_rows: about so many records at most. The least important ones are left out and repeated ones are
            put together, and it is said where.
    """
    return Group(*_header(trace, width), *_Picture(trace, width, notes).lines(max_rows))


def _header(trace: Trace, width: int) -> Iterator[Text]:
    style = f"bold {STATUS_STYLES[trace.status]}"
    yield Text.assemble("trace ", (trace.id, "bold"), "  ", (str(trace.status), style))
    trigger = trace.trigger
    if trigger is not None:
        said = "" if math.isnan(trigger.value) else f" = {trigger.value:.6g}"
        said += f" on {visible(trigger.host)}" if trigger.host else ""
        said += f" at {moment(trigger.time_unix_ns)}" if trigger.time_unix_ns > 0 else ""
        yield Text.assemble("trigger ", (visible(trigger.name), "bold"), said)
    if trace.laterals:
        yield from _indented(f"gathered with {', '.join(i.hex()[:12] for i in trace.laterals)}", "", 0, width)
    names = max((cell_len(visible(part.name)) for part in trace.hosts), default=0)
    for part in trace.hosts:
        name = visible(part.name)
        line = Text(f"  {name}{' ' * (names - cell_len(name))}  ")
        line.append(f"{part.status:8}", STATUS_STYLES[part.status])
        line.append(f"  {part.records} records, {size(part.bytes)}")
        moved = ""
        if part.offset_ns or part.uncertainty_ns:
            moved = f"clock moved by {duration(part.offset_ns)} ± {duration(part.uncertainty_ns)}"
            if line.cell_len + 2 + cell_len(moved) <= width:
                line.append(f"; {moved}")
                moved = ""
        yield line
        if moved:
            yield from _indented(moved, "", names + 4, width)
        for reason in part.reasons:
            yield from _indented(visible(reason), STATUS_STYLES[part.status], names + 4, width)
        if shift_ns := trace.shifts_ns.get(part.name, 0):
            beyond = ": it was worse than was thought" if abs(shift_ns) > part.uncertainty_ns else ""
            said = f"clock moved by another {duration(shift_ns)} to put causes first{beyond}"
            yield from _indented(said, "", names + 4, width)
    yield from _legend(trace)
    yield Text()


def _legend(trace: Trace) -> Iterator[Text]:
    accesses = [record for record in trace.records if is_pool(record)]
    if not accesses:
        return
    yield Text.assemble(
        "  ", ("◆", _POOL_STYLE), " access to the pool, with the time it takes on a modelled clock"
    )
    wording = Wording(trace)
    if any(wording.source_host(record) not in ("", record.host) for record in accesses):
        yield Text.assemble("  ", ("◇┄▶◆", _STALE_STYLE), " it read old bytes: from the host that wrote them")


def _indented(text: str, style: str, indent: int, width: int) -> Iterator[Text]:
    for line in Text(text, style).wrap(Console(width=width), max(width - indent, 20)):
        line.rstrip()
        if line:
            yield Text(" " * indent).append_text(line)


@dataclass(frozen=True, slots=True)
class _Row:
    """A record that gets a row.

    Args:
        rank: how important it is; 0 is most.
        words: what the row says.
        notes: what is said below it, with its style.
        marker: the character in the lane of its host.
        edge: the arrow that ends or, without an answer, begins here.
    """

    record: Record
    rank: int
    words: Words
    notes: tuple[tuple[str, str], ...]
    marker: tuple[str, str]
    edge: Edge | None = None


class _Picture:
    def __init__(self, trace: Trace, width: int, notes: Notes | None) -> None:
        self._trace = trace
        self._notes = notes
        self._wording = Wording(trace)
        self._spans = {span.span_id: span for _, span in trace.spans()}
        self._edges = {edge.edge_span_id: edge for edge in trace.edges}
        seen = {record.host for record in trace.records} | {edge.to_host for edge in trace.edges}
        hosts = [part.name for part in trace.hosts if part.name in seen]
        self._lanes = Lanes(hosts, trace.records, self._spans, (width - _TIME_WIDTH) // 2)
        self._text_width = max(width - _TIME_WIDTH - self._lanes.width - 1, 20)
        self._console = Console(width=width)
        self._unit, self._unit_ns = _unit(trace.end_unix_ns - trace.start_unix_ns)

    def lines(self, max_rows: int | None) -> Iterator[Text]:
        rows = {id(row.record): row for record in self._trace.records if (row := self._row(record))}
        shown = set(rows) if max_rows is None else _most_important(list(rows.values()), max_rows)
        styles = {part.name: STATUS_STYLES[part.status] for part in self._trace.hosts}
        yield Text.assemble((f"{self._unit:>{_TIME_WIDTH - 2}}  ", "dim"), self._lanes.header(styles))
        gap_ns = max(int((self._trace.end_unix_ns - self._trace.start_unix_ns) * _GAP), 1)
        before = self._trace.start_unix_ns
        left_out: list[_Row] = []
        for record in self._trace.records:
            self._lanes.enter(record)
            row = rows.get(id(record))
            if row is not None and id(record) in shown:
                waited = record.time_unix_ns - before
                if left_out:
                    yield self._pause(_left_out(left_out))
                elif waited >= gap_ns:
                    yield self._pause(f"⋮ {duration(waited)}", before=record)
                left_out.clear()
                before = record.time_unix_ns
                yield from self._draw(row)
            elif row is not None:
                left_out.append(row)
            self._lanes.leave(record)
        if left_out:
            yield self._pause(_left_out(left_out))

    # ---- what rows say ----

    def _row(self, record: Record) -> _Row | None:
        span = self._spans.get(record.span_id)
        if record.kind in OPENS and span is not None:
            return self._begin(record, span)
        if record.kind in CLOSES:
            if span is None or _is_empty(span):
                return None
            return _Row(
                record, 2, Words("", f"end of {visible(span.name) or 'a span'}", "dim"), (), ("┗", "")
            )
        if record.kind == Kind.BREADCRUMB:
            return self._breadcrumb(record)
        if record.kind in (Kind.RESUME, Kind.ATTRIBUTES):
            return None
        return self._event(record)

    def _begin(self, record: Record, span: Span) -> _Row:
        edge = self._edges.get(record.parent_span_id) if record.kind == Kind.BEGIN else None
        rest = [fields_text(span.attributes)]
        if edge is not None and edge.sent is not None:
            way_ns = record.time_unix_ns - edge.sent.time_unix_ns
            # Zero is how far clocks are moved to put causes first; no way between hosts is that short.
            on_the_way = f", {duration(way_ns)} on the way" if way_ns > 0 else ""
            rest.append(f"from {visible(edge.from_host)}{on_the_way}")
        if span.end_unix_ns is None:
            rest.append("(its end is not in the trace)")
        else:
            rest.append(f"({duration(span.end_unix_ns - span.start_unix_ns)})")
        marker = "╺" if _is_empty(span) else "┏"
        words = Words(visible(span.name), " ".join(text for text in rest if text), "bold")
        return _Row(
            record,
            0 if edge or record.kind == Kind.BEGIN else 1,
            words,
            self._below(record),
            (marker, ""),
            edge,
        )

    def _breadcrumb(self, record: Record) -> _Row | None:
        end = record.edge
        edge = self._edges.get(end.edge_span_id) if end else None
        if end is None or edge is None:
            return None
        if end.direction == Direction.OUT:
            if edge.received is not None:
                return None  # the arrow is drawn where it arrives
            to = visible(edge.to_host) or "a host that is not known"
            return _Row(
                record,
                0,
                Words(f"to {to}", "of which nothing is here", "yellow"),
                self._below(record),
                ("┠", "yellow"),
                edge,
            )
        if any(
            r.kind == Kind.BEGIN and r.parent_span_id == end.edge_span_id for r in self._records_of(record)
        ):
            return None
        return _Row(
            record,
            0,
            Words("received", f"from {visible(edge.from_host)}"),
            self._below(record),
            ("•", ""),
            edge,
        )

    def _records_of(self, record: Record) -> list[Record]:
        span = self._spans.get(record.span_id)
        return span.records if span else []

    def _event(self, record: Record) -> _Row:
        notes = self._below(record)
        if is_pool(record):
            marker = ("◆", _STALE_STYLE if notes else _POOL_STYLE)
        elif record.kind == Kind.TRIGGER:
            marker = ("▲", "bold magenta")
        else:
            style = level_style(record)
            marker = ("✖" if record.severity and record.level >= Level.ERROR else "•", style)
        if notes or record.kind == Kind.TRIGGER or marker[0] == "✖":
            rank = 0
        elif record.level >= Level.WARN or (is_pool(record) and record.level >= Level.INFO):
            rank = 1
        else:
            rank = 2 if record.level >= Level.INFO and record.kind == Kind.EVENT else 3
        return _Row(record, rank, self._wording.record(record), notes, marker)

    def _below(self, record: Record) -> tuple[tuple[str, str], ...]:
        said = []
        if explained := self._wording.explain(record):
            said.append((explained, _STALE_STYLE))
        given = self._notes(record) if callable(self._notes) else (self._notes or {}).get(record.identity)
        if given:
            said.append((visible(given), "bold yellow"))
        return tuple(said)

    # ---- drawing ----

    def _draw(self, row: _Row) -> Iterator[Text]:
        record = row.record
        cells = self._lanes.cells()
        column = self._lanes.column(record.host, record.span_id) or 0
        if row.edge is not None:
            self._draw_edge(cells, row.edge, column)
        source_host = self._wording.source_host(record)
        source = self._lanes.column(source_host)
        if source is not None and source_host != record.host:
            cells.arrow(source, column, _STALE_STYLE, "┄")
        if row.edge is None or row.edge.received is not None:
            cells.put(column, *row.marker)
        time = f"{(record.time_unix_ns - self._trace.start_unix_ns) / self._unit_ns:.3f}"
        text = Text.assemble((row.words.head, row.words.style), " " if row.words.head else "", row.words.rest)
        if row.words.style == "dim":
            text.stylize("dim")
        if self._lanes.is_crowded(record.host):
            text = Text.assemble((f"{visible(record.host)}: ", "bold"), text)
        lines = self._wrap(text, _TEXT_LINES)
        yield self._line(time, cells, lines[0])
        if record.kind in CLOSES:
            self._lanes.leave(record)
        for line in lines[1:]:
            yield self._line("", self._lanes.cells(), line, indent=2)
        for note, style in row.notes:
            for line in self._wrap(Text(f"↳ {note}", style), None):
                yield self._line("", self._lanes.cells(), line, indent=2)

    def _draw_edge(self, cells: Cells, edge: Edge, column: int) -> None:
        if edge.received is None:
            target = self._lanes.column(edge.to_host)
            cells.arrow(column, self._lanes.width - 1 if target is None else target, "yellow")
        elif edge.sent is not None:
            start = self._lanes.column(edge.sent.host, edge.sent.span_id)
            if start is not None:
                cells.arrow(start, column, _ARROW_STYLE)

    def _pause(self, text: str, before: Record | None = None) -> Text:
        """A row without a record. `before`: the record that comes next; its span has no bar yet."""
        without = before.span_id if before is not None and before.kind in OPENS else 0
        return self._line("", self._lanes.cells(without), Text(text, "dim"))

    def _wrap(self, text: Text, most: int | None) -> list[Text]:
        lines = list(text.wrap(self._console, self._text_width - 2))
        if most is not None and len(lines) > most:
            lines[most - 1].append(" …", "dim")
            lines[most - 1].truncate(self._text_width - 2, overflow="ellipsis")
            lines = lines[:most]
        for line in lines:
            line.rstrip()
        return lines or [Text()]

    def _line(self, time: str, cells: Cells, text: Text, indent: int = 0) -> Text:
        line = Text(no_wrap=True, overflow="crop")
        line.append(f"{time:>{_TIME_WIDTH - 2}}  ", "dim").append_text(cells.text()).append(
            " " * (1 + indent)
        )
        line.append_text(text)
        line.rstrip()
        return line


def _is_empty(span: Span) -> bool:
    """Nothing happened inside: it gets one row, not two."""
    return (
        span.end_unix_ns is not None
        and not span.children
        and all(r.kind in (*OPENS, *CLOSES, Kind.ATTRIBUTES, Kind.RESUME) for r in span.records)
    )


def _most_important(rows: list[_Row], most: int) -> set[int]:
    """The rows to be shown, by the identity of their records' objects."""
    folded = set(_repetitions(rows))
    kept = [row for i, row in enumerate(rows) if i not in folded]
    if len(kept) > most:
        kept = sorted(kept, key=lambda row: row.rank)[:most]
    shown = {id(row.record) for row in kept}
    # Saying that one row was left out takes as much room as the row.
    for before, row, after in zip(rows, rows[1:], rows[2:], strict=False):
        if id(before.record) in shown and id(after.record) in shown:
            shown.add(id(row.record))
    return shown


def _repetitions(rows: list[_Row]) -> Iterator[int]:
    """Where events stand that say the same again, but for their fields: all of a series but its first."""

    def series(row: _Row) -> tuple[object, ...]:
        record = row.record
        unique = row.rank < _REPEATABLE or record.kind != Kind.EVENT
        return (id(row),) if unique else (record.host, record.tid, record.span_id, record.name)

    for _, group in groupby(enumerate(rows), key=lambda item: series(item[1])):
        indices = [i for i, _ in group]
        if len(indices) > _SERIES:
            yield from indices[1:]


def _left_out(rows: list[_Row]) -> str:
    names = {row.record.name for row in rows}
    what = visible(names.pop()) if len(names) == 1 and rows[0].record.kind == Kind.EVENT else ""
    what = what or ("record" if len(rows) == 1 else "records")
    return f"… {len(rows)} more {what}"


def _unit(total_ns: int) -> tuple[str, int]:
    if total_ns >= 10**9:
        return "s", 10**9
    return ("ms", 10**6) if total_ns >= 10**6 else ("µs", 10**3)
