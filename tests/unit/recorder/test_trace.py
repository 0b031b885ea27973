from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import wbpf
from tests.unit.recorder.reading import events, kinds, read_only_trace, read_trace, trace_ids
from wbpf.errors import ConfigError
from wbpf.recorder import Level, Scope, Segment
from wbpf.records import Span


def tree(span: Span) -> Any:
    return span.name, dict(span.attributes), [tree(child) for child in span.children]


def test_spans_nest_with_their_attributes(segment: Path) -> None:
    with wbpf.trace("checkout", user="joe", n=3) as trace:
        with wbpf.span("db.query", table="x"):
            wbpf.event("row")
        with wbpf.span("db.commit"), wbpf.span("fsync"):
            pass
    found = read_only_trace(segment)
    assert found.id == trace.trace_id == trace.context.trace_id
    (root,) = found.roots
    assert tree(root) == (
        "checkout",
        {"user": "joe", "n": 3},
        [("db.query", {"table": "x"}, []), ("db.commit", {}, [("fsync", {}, [])])],
    )
    assert [record.name for record in root.children[0].records if record.kind_name == "event"] == ["row"]
    assert all(span.end_unix_ns is not None for _, span in found.spans())


def test_attributes_are_taken_when_the_scope_is_made(segment: Path) -> None:
    items = [1]
    scope = wbpf.trace("request", items=items)
    items.append(2)
    with scope:
        pass
    assert read_only_trace(segment).roots[0].attributes == {"items": "[1]"}


def test_a_trace_inside_a_trace_is_another_one(segment: Path) -> None:
    with wbpf.trace("outer") as outer:
        with wbpf.trace("inner") as inner:
            wbpf.event("in")
            assert wbpf.current() == inner.context
        wbpf.event("out")
        assert wbpf.current() == outer.context
    assert wbpf.current() is None
    assert [r.name for r in events(read_trace(segment, inner.trace_id))] == ["in"]
    assert [r.name for r in events(read_trace(segment, outer.trace_id))] == ["out"]


def test_a_span_without_a_trace_does_nothing(segment: Path) -> None:
    with wbpf.span("alone", n=1) as span:
        assert span.trace_id == "0" * 32
        assert not span.context
    assert wbpf.current() is None
    assert trace_ids(segment) == set()


def test_log_lines_and_metrics(segment: Path) -> None:
    with wbpf.trace("request"):
        wbpf.log("started ä", level=Level.WARN)
        wbpf.log("plain")
        wbpf.log("a\ud800b", "error")
        wbpf.metric("queue.length", 17)
        wbpf.metric("ratio", 0.25)
    found = read_only_trace(segment)
    assert [(r.level, r.fields) for r in found.records if r.kind_name == "log"] == [
        (Level.WARN, {"message": "started ä"}),
        (Level.INFO, {"message": "plain"}),
        (Level.ERROR, {"message": "a\\ud800b"}),
    ]
    assert [(r.name, r.fields) for r in found.records if r.kind_name == "metric"] == [
        ("queue.length", {"value": 17.0}),
        ("ratio", {"value": 0.25}),
    ]


def test_an_exception_is_recorded_where_it_leaves(segment: Path) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(KeyError), wbpf.trace("outer"):
        with wbpf.span("caught"), pytest.raises(Odd), wbpf.span("inner"):
            raise Odd
        with wbpf.span("second"):
            raise KeyError("missing")
    found = read_only_trace(segment)
    names = {span.span_id: span.name for _, span in found.spans()}
    assert [(names[r.span_id], r.level, r.fields) for r in events(found)] == [
        ("inner", Level.ERROR, {"type": f"{__name__}.{Odd.__qualname__}", "message": "<Odd>"}),
        ("second", Level.ERROR, {"type": "KeyError", "message": "'missing'"}),
        ("outer", Level.ERROR, {"type": "KeyError", "message": "'missing'"}),
    ]


def test_an_exception_whose_text_traces(segment: Path) -> None:
    class Tracing(Exception):
        def __str__(self) -> str:
            with wbpf.trace("inner"):
                wbpf.event("from.str")
            return "said"

    with pytest.raises(Tracing), wbpf.trace("outer") as outer:
        raise Tracing
    (record,) = events(read_trace(segment, outer.trace_id))
    assert record.fields["message"] == "said"


def test_scopes_serve_once(segment: Path) -> None:
    scope = wbpf.trace("request")
    with scope, pytest.raises(RuntimeError, match="entered once"):
        scope.__enter__()
    with pytest.raises(RuntimeError, match="entered once"):
        scope.__enter__()
    scope.__exit__(None, None, None)
    assert kinds(read_only_trace(segment)) == ["begin", "end"]


def test_exit_takes_what_it_is_given(segment: Path) -> None:
    leave: Any = Scope.__exit__
    scope = wbpf.trace("request")
    scope.__enter__()
    with pytest.raises(TypeError):
        leave(scope)
    leave(scope, ValueError, None, None)
    (record,) = events(read_only_trace(segment))
    assert record.fields == {"type": "ValueError", "message": ""}


def test_scopes_left_in_the_wrong_order(segment: Path) -> None:
    outer, inner = wbpf.trace("outer"), wbpf.span("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    wbpf.event("after")
    inner.__exit__(None, None, None)
    assert wbpf.current() is None
    found = read_trace(segment, outer.trace_id)
    assert events(found) == []
    assert all(span.end_unix_ns is not None for _, span in found.spans())


def test_a_trace_ends_where_it_is_ended(segment: Path) -> None:
    """Begun by one thread, ended by another, which works on something else meanwhile."""
    scope = wbpf.trace("request")
    scope.__enter__()
    wbpf.detach()

    def other() -> None:
        with wbpf.trace("other") as mine:
            scope.__exit__(None, None, None)
            wbpf.event("still.other")
            assert wbpf.current() == mine.context

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    found = read_trace(segment, scope.trace_id)
    assert found.roots[0].end_unix_ns is not None
    assert len({record.tid for record in found.records}) == 2
    assert events(found) == []


def test_detach_and_attach_move_a_trace(segment: Path) -> None:
    with wbpf.trace("request") as trace:
        context = wbpf.detach()
        assert context == trace.context
        assert wbpf.current() is None
        wbpf.event("nowhere")

        def other() -> None:
            wbpf.attach(context)
            with wbpf.span("elsewhere"):
                wbpf.event("there")
            assert wbpf.detach() == context
            wbpf.event("nowhere")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        wbpf.attach(context)
        wbpf.event("back")
    assert not wbpf.detach()
    found = read_trace(segment, trace.trace_id)
    assert [r.name for r in events(found)] == ["there", "back"]
    (root,) = found.roots
    assert [child.name for child in root.children] == ["elsewhere"]


def test_reduce_and_clear(segment: Path) -> None:
    with wbpf.trace("request") as trace:
        wbpf.event("before")
        with wbpf.span("inner"):
            assert wbpf.reduce("warn")
            wbpf.event("dropped")
        context = wbpf.detach()
        wbpf.attach(context)
        wbpf.event("dropped.too")
        with wbpf.span("not.recorded"):
            wbpf.event("kept", level="error")
        wbpf.clear()
    with wbpf.trace("next"):
        wbpf.event("of.another.trace")
    assert [r.name for r in events(read_trace(segment, trace.trace_id))] == ["before", "kept"]
    assert len(trace_ids(segment)) == 2
    with Segment.open(segment, writable=True) as reader:
        (fired,) = reader.take_triggers()
        assert (fired.verb, fired.level, fired.trace_id.hex()) == (2, Level.WARN, trace.trace_id)
        assert reader.cleared(0) == (1, [fired.trace_id])


def test_triggers_name_traces(segment: Path) -> None:
    assert not wbpf.trigger("nowhere")
    laterals: list[str | bytes] = ["0" * 31 + "1", bytes(15) + b"\2"]
    with wbpf.trace("request") as trace:
        assert wbpf.trigger("slow", value=12.5, laterals=laterals)
    with wbpf.trace("other") as other:
        assert wbpf.trigger("late", 2, trace_id=trace.context)
        assert wbpf.trigger("later", trace_id=trace.trace_id, laterals=iter([other.context]))
    with Segment.open(segment, writable=True) as reader:
        names = dict(reader.schemas()[1])
        fired = reader.take_triggers()
        seen = [
            (names[f.trigger_id], f.value, f.trace_id.hex(), [i.hex() for i in f.laterals]) for f in fired
        ]
        assert seen == [
            ("slow", 12.5, trace.trace_id, ["0" * 31 + "1", "0" * 31 + "2"]),
            ("late", 2.0, trace.trace_id, []),
            ("later", 0.0, trace.trace_id, [other.trace_id]),
        ]
        assert [f.start_unix_ns for f in fired] == [
            trace.context.start_unix_ns,
            trace.context.start_unix_ns,
            0,
        ]
        assert reader.take_triggers() == []
        assert len(reader.take_triggers(again=True)) == 3
        for one in fired:
            reader.ack_trigger(one.slot, one.token)
        assert reader.take_triggers(again=True) == []


@pytest.mark.parametrize("bad", ["", "abc", "g" * 32, b"short", 7, None])
def test_what_is_no_trace_id_is_refused(segment: Path, bad: Any) -> None:
    with pytest.raises(ConfigError, match="is not a trace id"):
        wbpf.trigger("slow", laterals=[bad])


def test_watches_of_triggers_run_inside_the_trace(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(str(args.exc_value)))
    seen: list[tuple[str, Any]] = []

    class Watch:
        def watch(self) -> Watch:
            return self

        def __enter__(self) -> None:
            seen.append(("enter", wbpf.current()))

        def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
            seen.append((repr(error), wbpf.current()))

    class Failing:
        def watch(self) -> Any:
            raise RuntimeError("this trigger is broken")

    with pytest.raises(ValueError, match="oh"), wbpf.trace("request", triggers=[Failing(), Watch()]) as trace:
        raise ValueError("oh")
    assert "this trigger is broken" in unraisable[0]
    assert seen == [("enter", trace.context), ("ValueError('oh')", trace.context)]
    assert kinds(read_only_trace(segment)) == ["begin", "event", "end"]


def test_closed_it_does_nothing() -> None:
    assert wbpf.recorder.segment_path() is None
    with wbpf.trace("request", n=1) as trace, wbpf.span("inner", text="x"):
        wbpf.event("event", n=1)
        wbpf.log("text")
        wbpf.metric("m", 1)
        assert wbpf.inject() == {}
        assert not wbpf.send()
        assert not wbpf.trigger("slow")
        assert not wbpf.reduce("warn")
        wbpf.clear()
        assert not wbpf.enabled("fatal")
        assert wbpf.current() is None
    assert trace.trace_id == "0" * 32
    assert not wbpf.detach()
