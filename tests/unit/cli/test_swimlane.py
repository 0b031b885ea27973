from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from tests.unit.cli.golden import assert_golden
from tests.unit.cli.pooling import pooled
from tests.unit.export.tracing import TRACE_ID, awkward, plain
from tests.unit.records.building import SegmentWriter
from tests.unit.records.cluster import conclusion, part, sources, trace
from wbpf.cli.swimlane import Notes, render
from wbpf.records import Record, Trace, assemble

TRACES: dict[str, Callable[[], Trace]] = {
    "plain": plain,
    "awkward": awkward,
    "pool": pooled,
    "skewed": lambda: plain(-1_000_000),
}


def drawn(trace: Trace, width: int, notes: Notes | None = None, max_rows: int | None = None) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(render(trace, width, notes, max_rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 160])
@pytest.mark.parametrize("name", TRACES)
def test_it_looks_as_it_should_and_fits(name: str, width: int) -> None:
    text = drawn(TRACES[name](), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
    if width != 160:
        assert_golden(f"swimlane/{name}-{width}.txt", text)


def test_colours_are_for_terminals() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(render(pooled(), 80))
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[1;31m◆" in console.file.getvalue()


def test_notes_stand_below_their_records() -> None:
    trace = plain()
    get = next(r for r in trace.records if r.fields.get("object") == "planes/1")
    by_identity = drawn(trace, 100, {get.identity: "stale: written by host2"})
    lines = by_identity.splitlines()
    at = next(i for i, line in enumerate(lines) if "planes/1" in line and "pool.get" in line)
    assert lines[at + 1].endswith("↳ stale: written by host2")

    def note(record: Record) -> str | None:
        return "stale: written by host2" if record is get else None

    assert drawn(trace, 100, note) == by_identity


def many(names: Callable[[int], str]) -> Trace:
    segment = SegmentWriter("host1")
    run = segment.run(TRACE_ID).begin(1, 0, 0, "root")
    for i in range(500):
        run.event(f"{names(i)} n:u32", {"n": i}, 10 + i)
        if i == 250:
            run.event("exception type:str message:str", {"type": "E", "message": "m"}, 10 + i, level=17)
    run.trigger("slow", 1.0, 900).end(1, 1000).done()
    return assemble(TRACE_ID, [segment.source()], conclusion(part("host1")))


def test_of_many_records_the_important_ones_are_drawn() -> None:
    text = drawn(many(lambda i: f"step{i}"), 80, max_rows=10)
    for shown in ("root", "exception", "trigger slow", "more records"):
        assert shown in text
    assert len(text.splitlines()) < 30


def test_events_that_say_the_same_again_are_put_together() -> None:
    text = drawn(many(lambda i: "tick"), 80, max_rows=100)
    assert [line.split("┃", 1)[-1].strip() for line in text.splitlines() if "more" in line] == [
        "… 250 more tick",
        "… 248 more tick",
    ]
    assert len(text.splitlines()) < 16
    assert drawn(many(lambda i: "tick"), 80).count("tick n=") == 500
    assert drawn(many(lambda i: f"t{i % 2}"), 80, max_rows=1000).count("n=") == 500


def test_a_receiver_without_a_span_still_gets_its_arrow() -> None:
    given_sources = sources()[:1]
    receiver = SegmentWriter("host2", "join")
    receiver.run(TRACE_ID, tid=21).receive(0xE1, "host1", 15_000).done()
    text = drawn(assemble(TRACE_ID, [*given_sources, receiver.source()], conclusion()), 100)
    assert "▶•" in text and "received from host1" in text


def test_more_hosts_than_fit_do_not_break_it() -> None:
    parts = [replace(part(f"a-rather-long-host-name-{i}"), records=1) for i in range(40)]
    segments = [SegmentWriter(p.name) for p in parts]
    for i, segment in enumerate(segments):
        segment.run(TRACE_ID).begin(i + 1, 0, i * 10, "work").end(i + 1, i * 10 + 500).done()
    text = drawn(assemble(TRACE_ID, [s.source() for s in segments], conclusion(*parts)), 80)
    assert text.count("work") == 40


def test_a_trigger_says_what_is_known_of_it() -> None:
    def said(**known: object) -> str:
        concluded = replace(conclusion(part("host1")), **known)  # type: ignore[arg-type]
        return drawn(assemble(TRACE_ID, [], concluded), 100).splitlines()[1]

    assert said(trigger_value=0.0) == "trigger slow = 0 on host1 at 2025-10-09T08:53:20.000095Z"
    assert said(trigger_host="") == "trigger slow = 12.5 at 2025-10-09T08:53:20.000095Z"
    assert said(trigger_host="", trigger_value=math.nan, fired_unix_ns=0) == "trigger slow"


@pytest.mark.parametrize(("skew_ns", "said"), [(0, "from host1, 5.00 µs on"), (-40_000, "from host1 (")])
def test_a_way_that_clocks_were_moved_over_is_no_measurement(skew_ns: int, said: str) -> None:
    text = drawn(trace(skew_ns), 120)
    assert said in text and " 0 ns on the way" not in text
    assert ("to put causes first" in text) == bool(skew_ns)


def test_a_trace_without_records_has_its_header() -> None:
    text = drawn(assemble(TRACE_ID, [], conclusion(part("host1"))), 80)
    assert "trigger slow" in text and "host1  complete" in text


steps = st.lists(
    st.tuples(st.sampled_from("beslrtmao"), st.integers(0, 2), st.integers(1, 6), st.integers(0, 6)),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(steps, st.integers(40, 130))
def test_any_trace_can_be_drawn(steps: list[tuple[str, int, int, int]], width: int) -> None:
    segments = [SegmentWriter(f"host{i}\x1b") for i in range(3)]
    runs = [segment.run(TRACE_ID) for segment in segments]
    for at, (kind, host, span, other) in enumerate(steps):
        run = runs[host]
        ticks = at * 1000
        if kind == "b":
            run.begin(span, other, ticks, "b")
        elif kind == "e":
            run.end(span, ticks)
        elif kind == "s":
            run.span_begin(span, other, ticks, "s")
        elif kind == "l":
            run.log("text \x1b[2J " * span, ticks)
        elif kind == "r":
            run.receive(span, "host1", ticks)
        elif kind == "t":
            run.trigger("t", float(span), ticks)
        elif kind == "m":
            run.metric("m", float(span), ticks)
        elif kind == "a":
            run.resume(span, ticks)
        else:
            run.send(span, "host2", other, ticks)
    for run in runs:
        if run.data:
            run.done()
    text = drawn(assemble(TRACE_ID, [segment.source() for segment in segments]), width)
    assert "\x1b" not in text
    assert all(cell_len(line) <= max(width, 60) for line in text.splitlines())
