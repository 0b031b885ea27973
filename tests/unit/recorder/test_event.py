from __future__ import annotations

import contextvars
import enum
import gc
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wbpf
from tests.unit.recorder.reading import NO_TRACE, events, read_only_trace, read_trace
from wbpf.errors import ConfigError
from wbpf.recorder import Level, Segment

SCALARS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.binary(max_size=40)
)
KEYS = st.text("abcdefghij_é", min_size=1, max_size=8)


class Colour(enum.StrEnum):
    RED = "red"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def recorded(segment: Path) -> list[tuple[str, int, dict[str, Any]]]:
    return [(record.name, record.level, dict(record.fields)) for record in events(read_only_trace(segment))]


def test_fields_come_back_as_they_were(segment: Path) -> None:
    with wbpf.trace("request"):
        wbpf.event("plain")
        wbpf.event(
            "cache.miss",
            key="ä",
            count=3,
            least=-(2**63),
            most=2**64 - 1,
            ratio=0.1,
            hit=False,
            raw=b"\0\xff",
        )
        wbpf.event("low", level=Level.DEBUG)
        wbpf.event("high", a=1, level="error")
        wbpf.event("number", level=22)
        wbpf.event("default", level=None)
    assert recorded(segment) == [
        ("plain", Level.INFO, {}),
        (
            "cache.miss",
            Level.INFO,
            {
                "key": "ä",
                "count": 3,
                "least": -(2**63),
                "most": 2**64 - 1,
                "ratio": 0.1,
                "hit": False,
                "raw": b"\0\xff",
            },
        ),
        ("low", Level.DEBUG, {}),
        ("high", Level.ERROR, {"a": 1}),
        ("number", 22, {}),
        ("default", Level.INFO, {}),
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.lists(st.dictionaries(KEYS, SCALARS, max_size=20), max_size=20))
def test_any_fields_come_back(segment: Path, calls: list[dict[str, Any]]) -> None:
    with wbpf.trace("request") as trace:
        for fields in calls:
            wbpf.event("any", **{f"k{key}": value for key, value in fields.items()})
    expected = [{f"k{key}": value for key, value in fields.items()} for fields in calls]
    assert [dict(record.fields) for record in events(read_trace(segment, trace.trace_id))] == expected


def test_the_types_of_a_site_may_change(segment: Path) -> None:
    values = ["text", 1, 2.5, True, b"raw", 2**63, None, "again", -1, 1.5]
    with wbpf.trace("request"):
        for value in values:
            wbpf.event("site", value=value)
    written = [fields["value"] for _, _, fields in recorded(segment)]
    assert written == ["None" if value is None else value for value in values]
    assert [type(value) for value in written] == [str if value is None else type(value) for value in values]


def test_other_types_are_taken_by_what_they_are_or_say(segment: Path) -> None:
    with wbpf.trace("request"):
        wbpf.event(
            "other",
            enumerated=Colour.RED,
            level_like=Level.WARN,
            numpy_integer=np.int16(-4),
            numpy_float=np.float64(2.5),
            decimal=Decimal("1.50"),
            listed=[1, "a"],
            broken=Broken(),
            large=2**64,
            small=-(2**63) - 1,
            surrogate="a\ud800b",
            path=Path("/tmp/x"),
        )
    ((_, _, fields),) = recorded(segment)
    assert fields == {
        "enumerated": "red",
        "level_like": 13,
        "numpy_integer": -4,
        "numpy_float": 2.5,
        "decimal": "1.50",
        "listed": "[1, 'a']",
        "broken": "<Broken>",
        "large": str(2**64),
        "small": str(-(2**63) - 1),
        "surrogate": "a\\ud800b",
        "path": "/tmp/x",
    }


def test_a_value_whose_text_traces_leaves_the_event_in_its_trace(segment: Path) -> None:
    class Tracing:
        def __str__(self) -> str:
            with wbpf.trace("inner"):
                wbpf.event("from.str")
            contextvars.Context().run(wbpf.event, "without.a.trace")
            return "said"

    with wbpf.trace("outer") as outer:
        wbpf.event("event", value=Tracing())
    (record,) = events(read_trace(segment, outer.trace_id))
    assert (record.name, record.fields) == ("event", {"value": "said"})


def test_names_and_keywords_are_one_word(segment: Path) -> None:
    with wbpf.trace("GET /users"):
        wbpf.event("cache miss\n", **{"a key": 1, "with:colon": 2, "": 3})
    trace = read_only_trace(segment)
    assert trace.roots[0].name == "GET_/users"
    (record,) = events(trace)
    assert (record.name, record.fields) == ("cache_miss_", {"a_key": 1, "with:colon": 2, "_": 3})


def test_long_values_are_cut_and_short_ones_kept(segment: Path) -> None:
    with wbpf.trace("request"):
        wbpf.event("long", before=7, text="é" * 100_000, note="kept", raw=b"x" * 50_000, after="end")
    ((_, _, fields),) = recorded(segment)
    assert (fields["before"], fields["note"], fields["after"]) == (7, "kept", "end")
    assert set(fields["text"]) == {"é"}
    assert len(fields["text"].encode()) > 30_000
    assert len(fields["raw"]) > 30_000
    with Segment.open(segment) as reader:
        (process,) = reader.processes()
        assert (process.truncated, process.refused) == (1, 0)


def test_many_fields(segment: Path) -> None:
    fields = {f"f{i}": i for i in range(40)}
    with wbpf.trace("request"):
        wbpf.event("many", level="warn", **fields)
    assert recorded(segment) == [("many", Level.WARN, fields)]


def test_without_room_for_another_schema_events_become_log_lines(segment: Path) -> None:
    with wbpf.trace("request"):
        for i in range(30_000):
            wbpf.event(f"dynamic.{i}", n=i, text="t", raw=b"\xff", ok=True)
    last = read_only_trace(segment).records[-2]
    assert (last.kind_name, last.fields["message"]) == ("log", "dynamic.29999 n=29999 text=t raw=ff ok=true")


def test_events_outside_of_any_trace_are_kept(segment: Path) -> None:
    wbpf.event("alone", n=1)
    (record,) = events(read_trace(segment, NO_TRACE))
    assert (record.name, record.fields) == ("alone", {"n": 1})


def test_the_host_s_level_decides(segment: Path) -> None:
    with Segment.open(segment, writable=True) as writable:
        writable.set_level("warn")
    with wbpf.trace("request"):
        wbpf.event("dropped")
        wbpf.event("kept", level="warn")
        assert not wbpf.enabled("info")
        assert wbpf.enabled(Level.WARN)
    assert [name for name, _, _ in recorded(segment)] == ["kept"]


@pytest.mark.parametrize("level", ["loud", 0, 256, -1, 10**30])
def test_unknown_levels_are_refused(segment: Path, level: int | str) -> None:
    with pytest.raises(ConfigError, match="is not a level\n  try: use trace, debug"):
        wbpf.event("event", level=level)


def test_wrong_calls_are_type_errors(segment: Path) -> None:
    call: Any = wbpf.event
    for arguments, keywords in (
        ((), {}),
        (("a", "b"), {}),
        ((3,), {}),
        ((None,), {"x": 1}),
        (("a",), {"level": 1.5}),
    ):
        with pytest.raises(TypeError):
            call(*arguments, **keywords)


def test_neither_sites_nor_fields_leak(segment: Path) -> None:
    class Text:
        def __str__(self) -> str:
            return f"{time.perf_counter_ns()}" * 10

    def work() -> None:
        for i in range(3000):
            fields: dict[str, Any] = {f"key{i % 700}": i, "text": Text()}
            wbpf.event("leak", **fields)
            with wbpf.trace("t", n=i), wbpf.span("s", text="y"):
                wbpf.event("fixed", n=i)

    work()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(5):
        work()
    gc.collect()
    assert sys.getallocatedblocks() - before < 3000
