from __future__ import annotations

from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from wbpf.collector.intake import FACTS_MOST, SEGMENTS_MOST, Intake, take_conclusion
from wbpf.records import HostPart, Status, host_id
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed

TRACE = b"t" * 16


def facts(name: str = "a") -> pb.HostFacts:
    return pb.HostFacts(protocol=1, name=name, host_id=host_id(name), incarnation=5)


def segment(number: int = 1, segment_id: int = 99) -> pb.SegmentFacts:
    return pb.SegmentFacts(segment=number, segment_id=segment_id, service="svc", ticks_hz=10**9, clock_kind=3)


def pieces(*all_pieces: pb.WirePiece, trace_id: bytes = TRACE) -> pb.TracePieces:
    return pb.TracePieces(trace_id=trace_id, pieces=all_pieces)


def piece(**changes: object) -> pb.WirePiece:
    values = {"segment": 1, "chunk": 2, "uses": 3, "start_unit": 4, "tid": 5, "pid": 6, "data": bytes(16)}
    return pb.WirePiece(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def intake() -> Intake:
    made = Intake({})
    made.take(pb.Delivery(host=facts(), segments=[segment()]))
    return made


def test_a_delivery_becomes_records() -> None:
    intake = Intake({})
    news = segment()
    news.schemas.add(schema_id=7, descriptor_text="slow n:u64")
    news.calibrations.add(ticks=1, mono_ns=2, unix_ns=3, error_ns=4)
    news.processes.add(process=0, pid=6, name="app")
    arrived = intake.take(pb.Delivery(host=facts(), segments=[news], traces=[pieces(piece(starts_run=True))]))
    assert arrived.host is not None and arrived.host.name == "a"
    (told,) = arrived.news
    assert (told.segment.segment_id, told.segment.host_id, told.segment.incarnation) == (99, host_id("a"), 5)
    assert told.schemas == {7: "slow n:u64"}
    assert told.calibrations == [(1, 2, 3, 4)]
    (got,) = arrived.pieces
    assert (got.trace_id, got.segment_id, got.identity, got.pid) == (TRACE, 99, (99, 2, 3, 4), 6)
    assert arrived.size_bytes > 16


@pytest.mark.parametrize(
    "delivery",
    [
        pb.Delivery(traces=[pieces(piece(segment=2))]),
        pb.Delivery(traces=[pieces(piece(data=bytes(15)))]),
        pb.Delivery(traces=[pieces(piece(data=b""))]),
        pb.Delivery(traces=[pieces(piece(data=bytes(65_536)))]),
        pb.Delivery(traces=[pieces(piece(start_unit=8192))]),
        pb.Delivery(traces=[pieces(piece(), trace_id=b"short")]),
        pb.Delivery(traces=[pieces(piece(), trace_id=bytes(16))]),
        pb.Delivery(host=facts("b")),
        pb.Delivery(host=pb.HostFacts(protocol=2, name="a", host_id=host_id("a"))),
        pb.Delivery(segments=[segment(2, 0)]),
        pb.Delivery(segments=[pb.SegmentFacts(segment=2, segment_id=3, service="a/b")]),
        pb.Delivery(segments=[pb.SegmentFacts(segment=2, segment_id=3, service="x" * 64)]),
        pb.Delivery(segments=[segment(n, n) for n in range(2, SEGMENTS_MOST + 3)]),
        pb.Delivery(
            segments=[
                pb.SegmentFacts(
                    segment=1, schemas=[pb.SchemaFact(schema_id=n) for n in range(FACTS_MOST + 1)]
                )
            ]
        ),
    ],
)
def test_lies_are_malformed(intake: Intake, delivery: pb.Delivery) -> None:
    with pytest.raises(Malformed):
        intake.take(delivery)


def test_nobody_is_nobody() -> None:
    with pytest.raises(Malformed):
        Intake({}).take(pb.Delivery(segments=[segment()]))
    with pytest.raises(Malformed):
        Intake({}).take(pb.Delivery(host=pb.HostFacts(protocol=1, name="a", host_id=host_id("b"))))


def test_another_hosts_segment_is_not_written_to() -> None:
    owners: dict[int, int] = {}
    Intake(owners).take(pb.Delivery(host=facts("a"), segments=[segment()]))
    with pytest.raises(Malformed, match="another host's"):
        Intake(owners).take(pb.Delivery(host=facts("b"), segments=[segment()]))
    Intake(owners).take(pb.Delivery(host=facts("a"), segments=[segment()]))


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    try:
        delivery, conclusion = pb.Delivery.FromString(data), pb.WireConclusion.FromString(data)
    except DecodeError:
        return
    intake = Intake({})
    intake.take(pb.Delivery(host=facts(), segments=[segment()]))
    for take in (lambda: intake.take(delivery), lambda: take_conclusion(conclusion)):
        with suppress(Malformed):
            take()


def part(**changes: object) -> pb.WireHostPart:
    values = {
        "name": "a",
        "host_id": 1,
        "status": pb.HOST_STATUS_PARTIAL,
        "reasons": ["why\x1b[2J"],
        "records": 3,
    }
    return pb.WireHostPart(**{**values, **changes})  # type: ignore[arg-type]


def test_a_conclusion_becomes_records() -> None:
    wire = pb.WireConclusion(
        trace_id=TRACE,
        trigger="slow",
        value=2.5,
        trigger_host="a",
        fired_unix_ns=(1 << 64) - 1,
        group_id=TRACE,
        laterals=b"u" * 16,
        hosts=[part(offset_ns=-5)],
    )
    taken = take_conclusion(wire)
    assert (taken.trigger_name, taken.trigger_value, taken.group_id, taken.laterals) == (
        "slow",
        2.5,
        TRACE,
        [b"u" * 16],
    )
    assert taken.fired_unix_ns < 1 << 63
    assert taken.hosts == [HostPart("a", 1, 0, Status.PARTIAL, ["why�[2J"], -5, 0, 3, 0)], (
        "nothing in it controls a terminal"
    )


@pytest.mark.parametrize(
    "wire",
    [
        pb.WireConclusion(trace_id=b"x"),
        pb.WireConclusion(trace_id=TRACE, hosts=[part(status=0)]),
        pb.WireConclusion(trace_id=TRACE, hosts=[part(name="")]),
        pb.WireConclusion(trace_id=TRACE, hosts=[part(reasons=["r"] * 100)]),
        pb.WireConclusion(trace_id=TRACE, group_id=b"x"),
        pb.WireConclusion(trace_id=TRACE, laterals=b"x"),
        pb.WireConclusion(trace_id=TRACE, hosts=[part()] * 5000),
    ],
)
def test_a_conclusion_that_lies_is_malformed(wire: pb.WireConclusion) -> None:
    with pytest.raises(Malformed):
        take_conclusion(wire)


def of_another(name: str = "b", segment_id: int = 98) -> pb.SegmentFacts:
    told = segment(2, segment_id)
    told.host.CopyFrom(facts(name))
    return told


def in_pool(name: str, pool_id: int) -> pb.HostFacts:
    told = facts(name)
    told.pool_id = pool_id
    return told


def test_who_shares_a_pool_may_tell_of_a_host_that_is_gone() -> None:
    owners: dict[int, int] = {}
    pools: dict[int, int] = {}
    Intake(owners, pools).take(pb.Delivery(host=in_pool("b", 7), segments=[segment(1, 98)]))
    survivor = Intake(owners, pools)
    arrived = survivor.take(pb.Delivery(host=in_pool("a", 7), segments=[of_another()]))
    assert [host.name for host in arrived.others] == ["b"]
    assert arrived.news[0].segment.host_id == host_id("b")


@pytest.mark.parametrize(
    ("own", "others"),
    [(0, None), (0, 7), (8, 7), (7, 0)],
    ids=["no pool", "not its pool", "another pool", "a host in no pool"],
)
def test_nobody_else_may(own: int, others: int | None) -> None:
    owners: dict[int, int] = {}
    pools: dict[int, int] = {}
    if others is not None:
        Intake(owners, pools).take(pb.Delivery(host=in_pool("b", others)))
    with pytest.raises(Malformed):
        Intake(owners, pools).take(pb.Delivery(host=in_pool("a", own), segments=[of_another()]))


def test_who_stands_in_for_a_host_does_not_get_a_third_ones_segments() -> None:
    owners = {98: host_id("c")}
    with pytest.raises(Malformed, match="another host's"):
        Intake(owners, {}).take(pb.Delivery(host=in_pool("a", 7), segments=[of_another()]))
