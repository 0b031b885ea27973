from __future__ import annotations

import random
from typing import Any

import pytest

from tests.unit.coordinator.doubles import AttachedDouble, Written, piece_of
from tests.unit.coordinator.simulated import Cluster
from wbpf.agent.delivery import MESSAGES_OPEN, Delivery, first_ticks
from wbpf.agent.watched import Watched
from wbpf.records.layout import RECORD_HEADER, STAMPED
from wbpf.wire import gather_pb2 as pb


class Sender:
    def __init__(self) -> None:
        self.done: list[Watched] = []
        self.delivery = Delivery(pb.HostFacts(name="a", host_id=1, incarnation=2), self.done.append)
        self.attached: Any = AttachedDouble(Cluster("a", random.Random(1)).hosts["a"].segment)
        self.delivery.connected()

    def put(self, watched: Watched, unit: int, size: int = 16) -> None:
        data = RECORD_HEADER.pack(size, STAMPED | 3, 9, 1) + (100).to_bytes(8, "little") + bytes(size - 16)
        self.delivery.put(watched, self.attached, piece_of(unit, Written(watched.trace_id, data, 0)), 42)

    def messages(self) -> list[pb.Delivery]:
        messages = []
        while (message := self.delivery.next_message(0.0)) is not None:
            messages.append(message)
        return messages


@pytest.fixture
def sender() -> Sender:
    return Sender()


def watched(letter: str = "t") -> Watched:
    return Watched(letter.encode() * 16, 1, 1, 0.0)


def test_facts_are_told_once(sender: Sender) -> None:
    trace = watched()
    sender.put(trace, 0)
    (first,) = sender.messages()
    assert (first.host.name, first.host.protocol) == ("a", 1)
    (segment,) = first.segments
    assert (segment.segment, segment.service) == (1, "svc")
    told = {schema.schema_id: schema.descriptor_text for schema in segment.schemas}
    assert told == {1: "work n:u64", 7: "slow", 8: "heavy", 9: "light"}
    assert len(segment.calibrations) == 2
    assert [(p.process, p.pid, p.name) for p in segment.processes] == [(0, 42, "app")]
    sender.put(trace, 1)
    sender.attached.descriptors[10] = "later"
    (second,) = sender.messages()
    assert not second.HasField("host")
    assert [s.schema_id for s in second.segments[0].schemas] == [10]
    assert not second.segments[0].calibrations and not second.segments[0].processes
    sender.put(trace, 2)
    (third,) = sender.messages()
    assert not third.segments
    assert third.ByteSize() <= 16 + 40 + 20, (
        "a piece costs at most 40 bytes beyond its data and its trace's id"
    )


def test_pieces_are_numbered_for_good(sender: Sender) -> None:
    assert sender.messages() == [], "who has delivered nothing says nothing"
    one, two = watched("t"), watched("u")
    for unit, trace in enumerate((one, two, one)):
        sender.put(trace, unit)
    (message,) = sender.messages()
    assert (one.upto, two.upto, message.upto, message.host.before) == (3, 2, 3, 0)
    sender.delivery.acknowledge(1)
    sender.put(two, 9)
    sender.delivery.connected()
    (message,) = sender.messages()
    assert (message.host.before, message.upto) == (3, 4)
    sender.delivery.acknowledge(1)
    sender.delivery.connected()
    (message,) = sender.messages()
    assert (message.host.before, message.upto) == (4, 0), "the next collector learns what the last one had"


def test_what_waits_shares_messages_and_pieces_share_their_trace(sender: Sender) -> None:
    one, two = watched("t"), watched("u")
    for trace in (one, two):
        for unit in range(3):
            sender.put(trace, unit)
    (message,) = sender.messages()
    assert [(trace.trace_id, len(trace.pieces)) for trace in message.traces] == [
        (one.trace_id, 3),
        (two.trace_id, 3),
    ]


def test_large_deliveries_are_cut_and_only_so_many_are_under_way(sender: Sender) -> None:
    trace = watched()
    for unit in range(40):
        sender.put(trace, unit, 60_000)
    messages = sender.messages()
    assert len(messages) == MESSAGES_OPEN
    assert max(message.ByteSize() for message in messages) < 300_000
    sender.delivery.acknowledge(2)
    assert len(sender.messages()) == 2


def test_a_trace_is_delivered_when_all_of_it_is_acknowledged(sender: Sender) -> None:
    one, two = watched("t"), watched("u")
    sender.put(one, 0)
    sender.messages()
    sender.put(one, 1)
    sender.put(two, 2)
    sender.messages()
    sender.delivery.acknowledge(1)
    assert sender.done == [] and one.undelivered == 1
    sender.delivery.acknowledge(2)
    assert sender.done == [one, two]
    assert sender.delivery.undelivered_bytes == len(sender.delivery) == 0
    sender.delivery.acknowledge(7)
    assert sender.done == [one, two], "an acknowledgement of nothing changes nothing"


def test_after_a_new_connection_all_that_was_not_acknowledged_comes_again_in_order(sender: Sender) -> None:
    trace = watched()
    for unit in range(3):
        sender.put(trace, unit)
        sender.messages()
    sender.delivery.acknowledge(1)
    sender.put(trace, 3)
    sender.delivery.connected()
    (message,) = sender.messages()
    assert message.HasField("host") and message.segments[0].service == "svc"
    assert [piece.start_unit for piece in message.traces[0].pieces] == [8, 16, 24]
    sender.delivery.acknowledge(1)
    assert sender.done == [trace]


def test_what_the_collector_never_takes_is_given_up_and_said(sender: Sender) -> None:
    trace = watched()
    sender.put(trace, 0)
    sender.messages()
    assert sender.delivery.give_up_first("refused: too odd") == 1
    assert trace.faults == ["refused: too odd"] and sender.done == [trace]
    assert sender.delivery.give_up_first("x") == 0


def test_the_time_of_a_piece() -> None:
    stamped = RECORD_HEADER.pack(16, STAMPED | 3, 9, 1) + (77).to_bytes(8, "little")
    plain = RECORD_HEADER.pack(12, 3, 9, 1) + bytes(8)
    assert first_ticks(stamped) == 77
    assert first_ticks(plain + stamped) == 77
    assert first_ticks(plain + plain + stamped) == first_ticks(b"") == first_ticks(bytes(8)) == (1 << 64) - 1
