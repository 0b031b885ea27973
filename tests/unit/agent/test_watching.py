from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.coordinator.doubles import AttachedDouble, HostDouble
from tests.unit.coordinator.simulated import Cluster
from wbpf.agent.watched import Watched
from wbpf.agent.watching import POLL_FIRST_S, Watching
from wbpf.recorder import Piece
from wbpf.records.layout import Direction, Kind
from wbpf.wire import gather_pb2 as pb

TRACE, OTHER = b"t" * 16, b"u" * 16


class Agentless:
    """A host's segment and what would watch it."""

    def __init__(self) -> None:
        self.host: HostDouble = Cluster("a", random.Random(1)).hosts["a"]
        self.attached = AttachedDouble(self.host.segment)
        self.shipped: list[Piece] = []
        self.room = True
        segments: Any = [self.attached]
        self.watching = Watching(segments, self.ship, 0.1, 60, lambda: self.room)
        self.watching.connected(7)

    def ship(self, watched: Watched, attached: Any, piece: Piece, pid: int) -> None:
        watched.undelivered += 1
        self.shipped.append(piece)

    def write(self, kind: Kind, trace_id: bytes = TRACE, **more: Any) -> None:
        self.host.cluster.write(self.host, trace_id, kind, **more)

    def collect(self, number: int = 1, trace_id: bytes = TRACE, now_s: float = 0.0) -> None:
        self.watching.collect([pb.Collect(gather=number, trace_id=trace_id)], now_s)

    def look(self, now_s: float = 0.0) -> list[pb.Found]:
        self.watching.poll(now_s)
        return self.watching.news(100)


@pytest.fixture
def one() -> Agentless:
    return Agentless()


def test_what_is_there_is_told_once(one: Agentless) -> None:
    one.write(Kind.BEGIN, span=1, start_unix_ns=55)
    one.write(Kind.BREADCRUMB, crumb=(Direction.OUT, 9, 100))
    one.write(Kind.BREADCRUMB, crumb=(Direction.OUT, 9, 101))
    one.write(Kind.BREADCRUMB, crumb=(Direction.IN, 8, 102))
    one.write(Kind.EVENT, OTHER)
    one.collect()
    (found,) = one.look()
    assert (found.gather, found.records, found.open_spans) == (1, 4, 1)
    assert (found.start_unix_ns, found.origin) == (55, True)
    assert [(c.peer_host_id, list(c.edges)) for c in found.sent] == [(9, [100, 101])]
    assert [(c.peer_host_id, list(c.edges)) for c in found.received] == [(8, [102])]
    assert not found.delivered and len(one.shipped) == 4
    assert one.look() == []
    one.write(Kind.END)
    (found,) = one.look()
    assert (found.records, found.open_spans, len(found.sent)) == (5, 0, 0)


def test_nothing_is_told_too(one: Agentless) -> None:
    one.collect()
    (found,) = one.look()
    assert (found.gather, found.records, found.bytes) == (1, 0, 0)


def test_a_trace_that_seems_over_is_looked_at_once_more(one: Agentless) -> None:
    one.write(Kind.BEGIN)
    one.write(Kind.END)
    poll = one.attached.poll
    late: list[Callable[[], None]] = [lambda: one.write(Kind.EVENT), lambda: one.write(Kind.EVENT)]

    def poll_while_another_thread_writes() -> tuple[list[Piece], int, int]:
        result = poll()
        if late:
            late.pop()()
        return result

    one.attached.poll = poll_while_another_thread_writes  # type: ignore[method-assign]
    one.collect()
    (found,) = one.look()
    assert (found.records, found.open_spans) == (4, 0)


def test_a_trace_that_never_rests_counts_as_running(one: Agentless) -> None:
    poll = one.attached.poll

    def poll_while_another_thread_writes() -> tuple[list[Piece], int, int]:
        one.write(Kind.EVENT)
        return poll()

    one.attached.poll = poll_while_another_thread_writes  # type: ignore[method-assign]
    one.collect()
    (found,) = one.look()
    assert found.open_spans == 1
    one.attached.poll = poll  # type: ignore[method-assign]
    (found,) = one.look()
    assert found.open_spans == 0


def test_a_dead_process_is_read_to_its_end_and_named(one: Agentless) -> None:
    one.write(Kind.BEGIN, process=3)
    one.write(Kind.BEGIN, process=4)
    one.collect()
    (found,) = one.look()
    assert found.open_spans == 2
    one.write(Kind.EVENT, process=3)
    one.host.segment.dead.add(3)
    (found,) = one.look()
    assert (found.records, found.open_spans, list(found.died)) == (3, 1, [1003])


def test_a_loss_matters_once_it_may_concern_the_trace(one: Agentless) -> None:
    segment = one.host.segment
    segment.recycle()
    before = segment.lost_ticks
    one.host.cluster.now_s += 1
    one.write(Kind.BEGIN)
    one.collect()
    (found,) = one.look()
    assert found.lost_until_unix_ns == before
    one.host.cluster.now_s += 1
    segment.lost_ticks += 1000  # older than what was read
    assert one.look() == []
    one.write(Kind.EVENT)
    segment.recycle()
    one.host.cluster.now_s += 1
    (found,) = one.look()
    assert (found.lost_until_unix_ns, found.lost_uncertainty_ns) == (segment.lost_ticks, 100)


def test_a_segment_that_is_removed_is_a_loss(one: Agentless) -> None:
    one.collect()
    one.look()
    one.watching.removed(777)
    (found,) = one.watching.news(9)
    assert found.lost_until_unix_ns == 777


def test_after_its_release_a_trace_lingers(one: Agentless) -> None:
    one.write(Kind.BEGIN)
    one.write(Kind.END)
    one.collect()
    one.look()
    one.watching.release([1], 1.0)
    assert one.watching.next_poll_s(1.0) == pytest.approx(1.1)
    assert one.watching.standing() == []
    one.write(Kind.EVENT)
    (found,) = one.look(1.2)
    assert found.records == 3
    assert len(one.watching) == 0 and one.attached.watch.known == set()
    assert one.watching.next_poll_s(2.0) is None


def test_asked_again_it_tells_all_and_stays(one: Agentless) -> None:
    one.write(Kind.BREADCRUMB, crumb=(Direction.OUT, 9, 100))
    one.collect()
    one.look()
    one.watching.release([1], 1.0)
    one.collect(1, now_s=1.05)
    (found,) = one.look(5.0)
    assert found.records == 1 and len(found.sent) == 1
    assert len(one.watching) == 1 and len(one.shipped) == 1


def test_another_coordinator_gives_other_numbers(one: Agentless) -> None:
    one.collect(1, TRACE)
    one.collect(2, OTHER)
    one.look()
    assert [(w.gather, w.session) for w in one.watching.standing()] == [(1, 7), (2, 7)]
    one.watching.connected(8)
    one.collect(2, TRACE)
    one.collect(1, OTHER)
    assert [found.gather for found in one.look()] == [2, 1]
    one.watching.release([1], 1.0)
    assert [w.trace_id for w in one.watching.standing()] == [TRACE]
    one.watching.forget([TRACE], 1.0)
    assert one.watching.standing() == []


def test_nobody_s_trace_is_let_go_in_the_end(one: Agentless) -> None:
    one.collect()
    one.watching.expire_unreleased(59)
    assert len(one.watching) == 1
    one.watching.expire_unreleased(61)
    assert len(one.watching) == 0


def test_looking_gets_rarer_while_nothing_happens(one: Agentless) -> None:
    assert one.watching.next_poll_s(0) is None, "with nothing to watch nothing is read"
    one.write(Kind.BEGIN)
    one.collect()
    one.look()
    pauses = []
    for now_s in (0.0, 0.1, 10.0):
        due = one.watching.next_poll_s(now_s)
        assert due is not None
        pauses.append(due - one.watching._poll_s)
    assert pauses == [pytest.approx(POLL_FIRST_S), pytest.approx(0.025), pytest.approx(0.1)]


def test_a_search_that_took_long_does_not_delay_the_looks_after_it(
    one: Agentless, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a trace, written right after its trigger, is to be found within milliseconds."""
    one.write(Kind.BEGIN)
    one.collect()
    poll = one.attached.poll

    def slow() -> Any:
        until_s = time.thread_time() + 0.02
        while time.thread_time() < until_s:
            pass
        return poll()

    monkeypatch.setattr(one.attached, "poll", slow)
    one.look()
    monkeypatch.undo()
    watching = one.watching
    due = watching.next_poll_s(0.0)
    assert due is not None and due - watching._poll_s == pytest.approx(POLL_FIRST_S)
    one.look(0.1)
    one.collect(2, OTHER, 10.0)
    due = watching.next_poll_s(10.0)
    assert due is not None and due < 10.0, "a search waits after searches alone"


def test_without_room_nothing_is_read(one: Agentless) -> None:
    one.write(Kind.BEGIN)
    one.collect()
    one.room = False
    assert one.look() == [] and not one.shipped
    due = one.watching.next_poll_s(0.0)
    assert due is not None and due > 0, "nor is it tried all the time"
    one.room = True
    assert len(one.look()) == 1
