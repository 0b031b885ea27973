from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.records.building import EPOCH_NS, SegmentWriter
from tests.unit.records.cluster import LATERAL, TRACE_ID, conclusion, part, segments, sources, trace
from wbpf.records import Record, Status, Trace, assemble
from wbpf.records.layout import Direction, Kind


def outline(gathered: Trace) -> list[str]:
    return [f"{'  ' * depth}{span.kind} {span.host} {span.name}" for depth, span in gathered.spans()]


def one(gathered: Trace, name: str, kind: Kind = Kind.EVENT) -> Record:
    (record,) = (r for r in gathered.records if r.name == name and r.kind == kind)
    return record


def test_spans_nest_across_hosts() -> None:
    assert outline(trace()) == [
        "internal host1 query",
        "  internal host1 plan",
        "  client host1 send host2",
        "    server host2 join",
        "      client host2 send host3",
        "        server host3 fetch",
    ]


def test_spans_have_times_attributes_errors_and_peers() -> None:
    spans = {span.name: span for _, span in trace().spans()}
    query, join, edge = spans["query"], spans["join"], spans["send host2"]
    assert (query.start_unix_ns - EPOCH_NS, query.end_unix_ns) == (1_000, EPOCH_NS + 100_000)
    assert query.attributes == {"id": 7}
    assert join.error == "ChecksumError: planes/1" and query.error is None
    assert (join.peer, edge.peer) == ("host1", "host2")
    # The edge lasts until its receiver was done.
    assert (edge.start_unix_ns, edge.end_unix_ns) == (EPOCH_NS + 10_000, EPOCH_NS + 80_000)


def test_a_record_belongs_to_the_span_that_was_current() -> None:
    gathered = trace()
    names = {span.span_id: span.name for _, span in gathered.spans()}
    assert names[one(gathered, "disk.read").span_id] == "fetch"
    assert names[next(r for r in gathered.records if r.kind == Kind.LOG).span_id] == "plan"
    # After the inner span's end, and in the other chunk after RESUME, the outer one is current again.
    assert [names[r.span_id] for r in gathered.records if r.kind in (Kind.METRIC, Kind.TRIGGER)] == [
        "query",
        "query",
    ]
    sent = next(r for r in gathered.records if r.edge and r.edge.direction == Direction.OUT)
    assert names[sent.span_id] == "query"
    assert one(gathered, "query", Kind.END).fields == {}


def test_spans_of_tasks_on_one_thread_may_end_in_any_order() -> None:
    segment = SegmentWriter("host1")
    run = segment.run(TRACE_ID).begin(1, 0, 0, "root").span_begin(2, 1, 10, "a").span_begin(3, 2, 20, "b")
    run.span_end(2, 30).log("in root", 40).resume(3, 50).log("in b", 60).span_end(3, 70).log("in a", 80)
    run.begin(4, 0xE9, 85, "served").end(4, 90).log("in a again", 95).end(1, 100).log("outside", 110).done()
    gathered = assemble(TRACE_ID, [segment.source()])
    logs = [r for r in gathered.records if r.kind == Kind.LOG]
    assert [(r.fields["message"], r.span_id) for r in logs] == [
        ("in root", 1),
        ("in b", 3),
        ("in a", 2),
        ("in a again", 2),
        ("outside", 0),
    ]


def test_edges_pair_senders_with_receivers() -> None:
    edges = trace().edges
    assert [(e.from_host, e.to_host, e.edge_span_id) for e in edges] == [
        ("host1", "host2", 0xE1),
        ("host2", "host3", 0xE2),
    ]
    assert all(e.sent and e.received for e in edges)


def test_an_edge_without_answer_names_the_peer_it_knows() -> None:
    gathered = assemble(TRACE_ID, sources()[:1], conclusion())
    (edge,) = gathered.edges
    assert (edge.from_host, edge.to_host, edge.received) == ("host1", "host2", None)
    assert outline(gathered)[-1] == "  client host1 send host2"


def test_a_receiver_whose_sender_is_lost_is_a_root() -> None:
    gathered = assemble(TRACE_ID, sources()[1:], conclusion())
    assert outline(gathered)[0] == "server host2 join"
    assert gathered.roots[0].parent_span_id == 0xE1
    assert gathered.edges[0].sent is None and gathered.edges[0].from_host == "host1"


def test_records_without_stamp_lie_between_their_neighbours() -> None:
    event = next(r for r in trace().records if r.fields.get("object") == "flights/3")
    assert not event.stamped
    assert event.time_unix_ns == EPOCH_NS + (15_100 + 30_000) // 2


def test_all_of_a_trace_is_there() -> None:
    gathered = trace()
    assert (gathered.id, gathered.status, gathered.group_id) == (TRACE_ID.hex(), Status.COMPLETE, TRACE_ID)
    assert gathered.trigger and (gathered.trigger.name, gathered.trigger.host) == ("slow", "host1")
    assert gathered.laterals == (LATERAL,)
    assert len(gathered.records) == sum(p.records for p in gathered.hosts) == 21
    assert [p.bytes for p in gathered.hosts] == [
        sum(len(p.data) for p in segment.pieces) for segment in segments()
    ]
    assert len({r.identity for r in gathered.records}) == 21
    assert gathered.records[0].process == "prog" and gathered.records[0].service == "front"
    times = [r.time_unix_ns for r in gathered.records]
    assert times == sorted(times)


def test_the_status_is_the_worst_of_the_hosts() -> None:
    parts = part("host1"), part("host2", Status.UNKNOWN, "a"), part("host3", Status.PARTIAL, "b")
    assert trace(concluded=conclusion(*parts)).status == Status.PARTIAL
    assert trace(concluded=conclusion(*parts[:2], part("host3"))).status == Status.UNKNOWN
    assert assemble(TRACE_ID, [], conclusion()).status == Status.COMPLETE


def test_hosts_that_a_conclusion_does_not_name_are_unknown() -> None:
    gathered = trace(concluded=conclusion(part("host1"), part("host3")))
    assert [(p.name, p.status) for p in gathered.hosts] == [
        ("host1", "complete"),
        ("host3", "complete"),
        ("host2", "unknown"),
    ]


def test_without_a_conclusion_the_trigger_is_taken_from_the_records() -> None:
    gathered = assemble(TRACE_ID, sources())
    assert gathered.trigger and gathered.trigger.value == 12.5
    assert gathered.laterals == (LATERAL,)
    assert gathered.status == Status.UNKNOWN
    assert gathered.hosts[0].reasons == ("its gathering has not concluded",)


def assert_causal(gathered: Trace) -> None:
    position = {r.identity: i for i, r in enumerate(gathered.records)}
    assert gathered.edges
    for edge in gathered.edges:
        if edge.sent and edge.received:
            assert position[edge.sent.identity] < position[edge.received.identity]
            assert edge.sent.time_unix_ns <= edge.received.time_unix_ns
    times = [r.time_unix_ns for r in gathered.records]
    assert times == sorted(times)


def test_a_clock_is_moved_within_its_uncertainty() -> None:
    parts = part("host1"), part("host2", uncertainty_ns=50_000), part("host3")
    gathered = trace(skew2_ns=-20_000, concluded=conclusion(*parts))
    assert gathered.shifts_ns == {"host2": 15_000}
    assert_causal(gathered)
    begin = one(gathered, "join", Kind.BEGIN)
    assert begin.time_unix_ns == EPOCH_NS + 10_000
    assert one(gathered, "exception").time_unix_ns - begin.time_unix_ns == 45_000


def test_a_clock_worse_than_its_uncertainty_is_moved_all_the_same() -> None:
    gathered = trace(skew2_ns=-1_000_000)
    assert gathered.shifts_ns == {"host2": 995_000}
    assert_causal(gathered)
    spans = {span.name: span for _, span in gathered.spans()}
    # What the host itself measured stays as it was.
    assert (spans["join"].end_unix_ns or 0) - spans["join"].start_unix_ns == 65_000


@pytest.mark.parametrize("skew", [-1_000_000, -20_000, 20_000, 1_000_000])
def test_causes_come_first_whatever_the_clocks_say(skew: int) -> None:
    assert_causal(trace(skew2_ns=skew))


def test_causes_come_first_where_no_shift_can_do_it() -> None:
    # host1 asks host2 and host2 answers before it was asked, by both clocks.
    asks, answers = SegmentWriter("host1"), SegmentWriter("host2")
    asks.run(TRACE_ID).begin(1, 0, 0, "a").send(0xE1, "host2", 1, 50_000).done()
    asks.run(TRACE_ID, chunk=1, tid=12).begin(4, 0xE2, 10_000, "got").end(4, 60_000).done()
    answers.run(TRACE_ID).begin(2, 0xE1, 40_000, "b").send(0xE2, "host1", 2, 55_000).end(2, 70_000).done()
    gathered = assemble(TRACE_ID, [asks.source(), answers.source()])
    assert_causal(gathered)


def test_a_damaged_piece_makes_its_host_partial_and_costs_no_more_than_itself() -> None:
    given_sources = sources()
    damaged = given_sources[1].pieces[0]
    given_sources[1].pieces = [replace(damaged, data=damaged.data[:-24] + b"\x03" + damaged.data[-23:])]
    gathered = assemble(TRACE_ID, given_sources, conclusion())
    host2 = next(p for p in gathered.hosts if p.name == "host2")
    assert host2.status == gathered.status == Status.PARTIAL
    assert "chunk 0 of join: no record at byte" in host2.reasons[0]
    assert len(gathered.records) == 20


def test_a_segment_without_calibrations_has_unknown_times() -> None:
    given_sources = sources()
    given_sources[2].calibrations = []
    gathered = assemble(TRACE_ID, given_sources, conclusion())
    host3 = next(p for p in gathered.hosts if p.name == "host3")
    assert host3.status == Status.COMPLETE
    assert host3.reasons == ("the times of store are not known: its segment has no clock calibration",)
    assert_causal(gathered)


def test_parents_in_a_circle_are_cut() -> None:
    segment = SegmentWriter("host1")
    segment.run(TRACE_ID).begin(1, 2, 10, "a").begin(2, 1, 20, "b").end(2, 30).end(1, 40).done()
    assert outline(assemble(TRACE_ID, [segment.source()])) == ["internal host1 a", "  internal host1 b"]


def test_edges_in_a_circle_still_give_every_record() -> None:
    one_way, other_way = SegmentWriter("host1"), SegmentWriter("host2")
    one_way.run(TRACE_ID).begin(1, 0xE2, 10, "a").send(0xE1, "host2", 1, 20).end(1, 30).done()
    other_way.run(TRACE_ID).begin(2, 0xE1, 10, "b").send(0xE2, "host1", 2, 20).end(2, 30).done()
    gathered = assemble(TRACE_ID, [one_way.source(), other_way.source()])
    assert len(gathered.records) == 6


@settings(max_examples=60)
@given(st.data())
def test_hostile_pieces_give_a_trace_with_reasons(data: st.DataObject) -> None:
    given_sources = sources()
    for source in given_sources:
        changed = []
        for piece in source.pieces:
            damaged = bytearray(piece.data)
            for _ in range(data.draw(st.integers(0, 3))):
                damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
            changed.append(replace(piece, data=bytes(damaged)))
        source.pieces = changed
    gathered = assemble(TRACE_ID, given_sources, conclusion())
    times = [r.time_unix_ns for r in gathered.records]
    assert times == sorted(times)
    spans = [span.span_id for _, span in gathered.spans()]
    assert len(spans) == len(set(spans))
