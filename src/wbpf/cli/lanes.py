"""The left part of a swimlane: a column group for each host, bars of open spans, and arrows between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from wbpf.cli.output import visible
from wbpf.records import Record, Span
from wbpf.records.layout import Kind

OPENS = (Kind.BEGIN, Kind.SPAN_BEGIN)
CLOSES = (Kind.END, Kind.SPAN_END)
_BAR_STYLE = "blue"
_LONGEST_NAME = 14
#: A bar, a space for the head of an arrow, and one between lanes.
_LEAST_WIDTH = 3


@dataclass(slots=True)
class Lane:
    """A host's columns, from `left` on: one for each span that is open at a time."""

    name: str
    left: int = 0
    width: int = _LEAST_WIDTH
    _slots: dict[int, int] = field(default_factory=dict)  # by span id
    _spans: dict[int, Span] = field(default_factory=dict)  # by slot
    _free: list[int] = field(default_factory=list)

    def open(self, span: Span) -> None:
        slot = heappop(self._free) if self._free else len(self._slots)
        self._slots[span.span_id] = slot
        self._spans[slot] = span

    def has(self, span_id: int) -> bool:
        return span_id in self._slots

    def close(self, span_id: int) -> None:
        slot = self._slots.pop(span_id, None)
        if slot is not None:
            del self._spans[slot]
            heappush(self._free, slot)

    def clear(self) -> None:
        self._slots.clear()
        self._spans.clear()
        self._free.clear()

    def size(self) -> int:
        """How many columns the spans that are open now take."""
        return len(self._slots) + len(self._free)

    def bars(self) -> Iterator[Span]:
        """Open spans, at least one for each column that has a bar."""
        room = self.width - 2
        shown = [span for slot in range(room) if (span := self._spans.get(slot)) is not None]
        yield from shown
        if len(shown) < len(self._spans):
            yield next(span for slot, span in reversed(self._spans.items()) if slot >= room)

    def column(self, span_id: int) -> int:
        """Where a span's bar is, or would be. Bars beyond the lane's room share its last column."""
        return self.left + min(self._slots.get(span_id, 0), self.width - 2)


class Cells:
    """One line of all lanes."""

    def __init__(self, width: int) -> None:
        self._cells = [(" ", "")] * width

    def put(self, column: int, character: str, style: str = "") -> None:
        self._cells[column] = character, style

    def is_bar(self, column: int) -> bool:
        return self._cells[column][0] in "┃┆"

    def arrow(self, start: int, stop: int, style: str, line: str = "─") -> None:
        """From a bar to just before the column `stop`, over what stands between them."""
        step = 1 if stop > start else -1
        if start == stop:
            return
        if line != "─":
            self.put(start, "◇", style)
        elif self.is_bar(start):
            self.put(start, "┠" if step > 0 else "┨", style)
        else:
            self.put(start, "╶" if step > 0 else "╴", style)
        for column in range(start + step, stop, step):
            self.put(column, "╂" if self.is_bar(column) else line, style)
        if abs(stop - start) > 1:
            self.put(stop - step, "▶" if step > 0 else "◀", style)

    def text(self) -> Text:
        return Text.assemble(*self._cells)


class Lanes:
    """The lanes of a trace, and which spans are open in them at the moment.

    Args:
        hosts: names, from left to right.
        records: of the whole trace, to know how much room each lane needs.
        spans: by id.
        room: columns that all lanes together should not pass.
    """

    def __init__(
        self, hosts: Iterable[str], records: Iterable[Record], spans: Mapping[int, Span], room: int
    ) -> None:
        self._spans = spans
        self._lanes, self._crowded = _make_lanes(list(hosts), max(room // _LEAST_WIDTH, 2))
        bars = self._most_bars(records)
        lanes = self._all()
        for lane in lanes:
            lane.width = max(min(cell_len(visible(lane.name)), _LONGEST_NAME), bars.get(lane.name, 0), 1) + 2
        if sum(lane.width for lane in lanes) > room:
            most = max(room // max(len(lanes), 1), _LEAST_WIDTH)
            for lane in lanes:
                lane.width = min(lane.width, most)
        self.width = 0
        for lane in lanes:
            lane.left = self.width
            self.width += lane.width

    def _all(self) -> list[Lane]:
        """From left to right."""
        return list({id(lane): lane for lane in self._lanes.values()}.values())

    def is_crowded(self, host: str) -> bool:
        """Does it share its lane with other hosts?"""
        return host in self._crowded

    def _most_bars(self, records: Iterable[Record]) -> dict[str, int]:
        most: dict[str, int] = {}
        for record in records:
            self.enter(record)
            lane = self._lanes[record.host]
            most[lane.name] = max(most.get(lane.name, 0), lane.size())
            self.leave(record)
        for lane in self._all():
            lane.clear()
        return most

    def enter(self, record: Record) -> None:
        """A record is next: from here on its span has a bar."""
        span = self._spans.get(record.span_id)
        lane = self._lanes[record.host]
        if span is None or span.host != record.host or lane.has(span.span_id):
            return
        if record.kind in OPENS or not span.name:
            lane.open(span)

    def leave(self, record: Record) -> None:
        """A record was drawn: if it ends its span, the bar ends here."""
        if record.kind in CLOSES:
            self._lanes[record.host].close(record.span_id)

    def column(self, host: str, span_id: int = 0) -> int | None:
        lane = self._lanes.get(host)
        return lane.column(span_id) if lane else None

    def header(self, styles: Mapping[str, str]) -> Text:
        line = Text()
        for lane in self._all():
            name = set_cell_size(visible(lane.name), min(cell_len(visible(lane.name)), lane.width - 1))
            line.append(name, f"bold {styles.get(lane.name, '')}".strip())
            line.append(" " * (lane.width - cell_len(name)))
        line.rstrip()
        return line

    def cells(self, without: int = 0) -> Cells:
        """A line with the bars that are open now, but for the span `without`."""
        cells = Cells(self.width)
        for lane in self._all():
            for span in lane.bars():
                if span.span_id != without:
                    bar = "┃" if span.end_unix_ns is not None else "┆"
                    cells.put(lane.column(span.span_id), bar, _BAR_STYLE)
        return cells


def _make_lanes(hosts: list[str], most: int) -> tuple[dict[str, Lane], set[str]]:
    """A lane for each host; if there are more than `most`, the last ones share one."""
    if len(hosts) <= most:
        return {host: Lane(host) for host in hosts}, set()
    crowded = hosts[most - 1 :]
    shared = Lane(f"+{len(crowded)}")
    return {**{host: Lane(host) for host in hosts[: most - 1]}, **dict.fromkeys(crowded, shared)}, set(
        crowded
    )
