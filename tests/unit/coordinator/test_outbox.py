from __future__ import annotations

from wbpf.coordinator.outbox import CLEARS_A_MESSAGE, CLEARS_WAITING, Outbox
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.channel import MAX_MESSAGE_BYTES

TRACE = b"t" * 16


def bodies(messages: list[pb.ToAgent]) -> list[str | None]:
    return [message.WhichOneof("body") for message in messages]


def test_what_waits_is_combined() -> None:
    woken = []
    outbox = Outbox(lambda: woken.append(1))
    for number in range(1, 4):
        outbox.collect(number, TRACE)
    outbox.admit(7)
    outbox.refuse(8)
    messages = outbox.drain()
    assert bodies(messages) == ["collects", "answers"]
    assert [collect.gather for collect in messages[0].collects.collects] == [1, 2, 3]
    assert list(messages[0].collects.admitted) == [7], "it goes with what it is for"
    assert list(messages[1].answers.refused) == [8]
    assert woken and len(outbox) == 0 and outbox.drain() == []


def test_the_last_word_on_a_gather_counts() -> None:
    outbox = Outbox()
    outbox.collect(1, TRACE)
    outbox.release(1)
    outbox.release(2)
    outbox.collect(2, TRACE)
    outbox.settle(9)
    collects, releases = outbox.drain()
    assert [collect.gather for collect in collects.collects.collects] == [2]
    assert list(releases.releases.fires) == [9]
    assert releases.releases.trace_ids == TRACE, "it was never told number 1"
    outbox.release(3)
    (releases,) = outbox.drain()
    assert list(releases.releases.gathers) == [3]


def test_levels_come_before_what_depends_on_them() -> None:
    outbox = Outbox()
    outbox.collect(1, TRACE)
    outbox.set_level(TRACE, 13)
    outbox.set_level(TRACE, 17)
    outbox.put(pb.ToAgent(ping=pb.Ping()))
    messages = outbox.drain()
    assert bodies(messages) == ["ping", "levels", "collects"]
    assert [(change.trace_id, change.level) for change in messages[1].levels.changes] == [(TRACE, 17)]


def test_messages_stay_small_and_clears_are_dropped_in_the_end() -> None:
    outbox = Outbox()
    for number in range(10_000):
        outbox.collect(number, number.to_bytes(16, "big"))
        outbox.settle(number)
        outbox.forget(number.to_bytes(16, "big"))
        outbox.admit(number)
    outbox.clear(number.to_bytes(16, "big") for number in range(CLEARS_WAITING + 5))
    assert outbox.clears_dropped == 5
    messages = outbox.drain()
    assert max(message.ByteSize() for message in messages) < MAX_MESSAGE_BYTES // 8
    assert sum(len(message.collects.collects) for message in messages) == 10_000
    assert sum(len(message.releases.fires) for message in messages) == 10_000
    admitted = sum(len(m.answers.admitted) + len(m.collects.admitted) for m in messages)
    assert admitted == 10_000
    clears = sum(len(message.clear.trace_ids) // 16 for message in messages)
    assert clears == CLEARS_A_MESSAGE, "the rest goes when the stream has taken these"
