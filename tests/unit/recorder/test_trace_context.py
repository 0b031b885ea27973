from __future__ import annotations

import pickle
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wbpf
from tests.unit.recorder.reading import read_only_trace, read_trace
from wbpf import TraceContext
from wbpf.errors import FormatError
from wbpf.records import host_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": PARENT, "tracestate": "rojo=1"},
        {"Host": "x", "TraceParent": PARENT, "Tracestate": "rojo=1"},
        {b"traceparent": PARENT.encode(), b"tracestate": b"rojo=1"},
        {"traceparent": PARENT.encode(), "tracestate": "rojo=1"},
    ],
)
def test_headers_are_read_in_any_case(headers: Any) -> None:
    context = TraceContext.from_headers(headers)
    assert (context.trace_id, context.span_id, context.flags) == (TRACE, SPAN, 1)
    assert context.tracestate == "rojo=1"
    assert (context.start_unix_ns, context.from_host_id, context.level) == (0, 0, 0)


def test_a_message_s_headers_are_a_mapping() -> None:
    message: Any = Message()
    message["Traceparent"] = PARENT
    assert TraceContext.from_headers(message).trace_id == TRACE


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "00-" + "0" * 32 + f"-{SPAN}-01"},
        {"traceparent": PARENT + "-extra"},
        {"traceparent": 7},
        {"traceparent": "\ud800"},
        {7: PARENT, None: PARENT},
    ],
)
def test_malformed_headers_are_no_trace(headers: Any) -> None:
    context = TraceContext.from_headers(headers)
    assert not context
    assert context.trace_id == "0" * 32


@pytest.mark.parametrize("headers", [None, PARENT, b"x", 3, [("traceparent", PARENT)]])
def test_headers_are_a_mapping(headers: Any) -> None:
    with pytest.raises(TypeError):
        TraceContext.from_headers(headers)


@given(
    st.dictionaries(
        st.text(max_size=20) | st.just("traceparent"), st.text(max_size=80) | st.binary(max_size=80)
    )
)
def test_no_headers_harm(headers: Any) -> None:
    assert TraceContext.from_headers(headers).trace_id == "0" * 32


def test_bytes_and_pickles_keep_it() -> None:
    context = TraceContext.from_headers(
        {"traceparent": PARENT, "tracestate": "wbpf=00000000000000ff-000000000000ffff-11,a=1"}
    )
    assert (context.from_host_id, context.start_unix_ns, context.level) == (255, 65535, 17)
    data = context.to_bytes()
    assert len(data) == 48
    for copy in (TraceContext.from_bytes(data), TraceContext.from_bytes(memoryview(bytearray(data)))):
        assert copy == context
        assert hash(copy) == hash(context)
        assert copy.tracestate == ""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(context, protocol))
        assert copy == context
        assert copy.tracestate == context.tracestate
    assert context != TraceContext.from_headers({})
    assert context != 3
    assert repr(context) == f"TraceContext({TRACE}, span {SPAN})"


@pytest.mark.parametrize("data", [b"", bytes(47), bytes(49)])
def test_other_sizes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match=f"it is 48 bytes, these are {len(data)}"):
        TraceContext.from_bytes(data)


def test_it_cannot_be_made_or_changed() -> None:
    make: Any = TraceContext
    context: Any = TraceContext.from_headers({})
    with pytest.raises(TypeError):
        make()
    with pytest.raises(AttributeError):
        context.trace_id = "x"


def test_a_trace_goes_on_from_headers(segment: Path) -> None:
    request = {"traceparent": PARENT, "tracestate": "rojo=1"}
    with wbpf.trace("serve", request) as trace, wbpf.span("inner"):
        headers = wbpf.inject("host2")
    assert trace.trace_id == TRACE
    assert headers["traceparent"].split("-")[1] == TRACE
    ours, theirs = headers["tracestate"].split(",")
    assert ours.startswith(f"wbpf={host_id('host1'):016x}-")
    assert theirs == "rojo=1"
    found = read_trace(segment, TRACE)
    (begin,) = [record for record in found.records if record.kind_name == "begin"]
    assert begin.parent_span_id == int(SPAN, 16)
    crumbs = [record.edge for record in found.records if record.edge]
    assert [(c.direction.name, c.peer_host_id, c.edge_span_id) for c in crumbs] == [
        ("IN", 0, int(SPAN, 16)),
        ("OUT", host_id("host2"), int(headers["traceparent"].split("-")[2], 16)),
    ]


def test_malformed_headers_start_a_new_trace(segment: Path) -> None:
    with wbpf.trace("serve", parent={"traceparent": "nonsense"}) as trace:
        pass
    assert read_only_trace(segment).id == trace.trace_id
    with pytest.raises(TypeError):
        wbpf.trace("serve", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="two values"):
        wbpf.trace("serve", {}, parent={})  # type: ignore[misc]


def test_a_long_tracestate_loses_its_oldest_entries(segment: Path) -> None:
    entries = [f"vendor{i}={'x' * 40}" for i in range(20)]
    with wbpf.trace("serve", {"traceparent": PARENT, "tracestate": ",".join(entries)}):
        ours, *kept = wbpf.inject()["tracestate"].split(",")
    assert ours.startswith("wbpf=")
    assert kept == entries[: len(kept)]
    assert len(kept) >= 8


def test_own_transports_carry_a_context(segment: Path) -> None:
    with wbpf.trace("ask") as asked:
        sent = wbpf.send("host1")
    assert sent.from_host_id == host_id("host1")
    assert sent.start_unix_ns == asked.context.start_unix_ns > 0
    with wbpf.trace("answer", TraceContext.from_bytes(sent.to_bytes())) as answered:
        assert answered.trace_id == asked.trace_id
    found = read_trace(segment, asked.trace_id)
    (root,) = found.roots
    assert root.name == "ask"
    (edge,) = found.edges
    assert (edge.from_host, edge.to_host) == ("host1", "host1")
    assert [span.name for _, span in found.spans() if span.kind == "server"] == ["answer"]
