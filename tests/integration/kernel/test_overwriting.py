"""Rings go round: what was overwritten is known to be lost, and what is read is whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.kernel.conftest import Compile
from tests.integration.kernel.subject import Gathered, Subject
from tests.integration.kernel.test_nesting import checked, settings
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings
from wbpf.recorder import Segment, Watch
from wbpf.records import decode_run, parse_schemas

Start = Callable[..., Subject]


def test_what_was_overwritten_is_lost_and_said_to_be(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    with (
        Object.open(compiled("syscalls", variant)) as probe,
        KernelRings(probe, "small", ring_kib=16) as rings,
    ):
        probe.programs["on_enter"].attach()
        traced = subject()
        rings.follow()
        ids = traced.ask("traces", 300, 5)
        before = sum(row.records for row in rings.counters())
        gathered = Gathered(rings.path, ids)
        with Segment.open(rings.path) as segment:
            counters = segment.counters()

    whole = [one for one in ids if len(gathered.calls(one)) == 5]
    assert 5 < len(whole) < 250, "some are there and most are not"
    newest_lost = max(index for index, one in enumerate(ids) if one not in whole)
    stamps = [event.ticks or 0 for piece in gathered.pieces for event in gathered.events(piece)]
    assert all(one in whole for one in ids[newest_lost + 1 :])
    # The host says "complete" of a trace that began after `lost_until`: none of those may lack a record.
    begun = {one: min(_stamps(gathered, one)) for one in whole}
    assert all(begun[one] > gathered.lost_until for one in ids[newest_lost + 2 :])
    assert min(stamps) <= gathered.lost_until < max(stamps)
    assert counters.lost_until_ticks == gathered.lost_until
    assert counters.resident_records + counters.recycled_records == before
    assert counters.resident_records == len(gathered.pieces)


def _stamps(gathered: Gathered, trace_id: str) -> list[int]:
    return [
        event.ticks or 0
        for piece in gathered.pieces
        if piece.trace_id.hex() == trace_id
        for event in gathered.events(piece)
    ]


def test_reading_while_the_ring_is_overwritten(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    """All that is read is whole, though the writer goes round the ring hundreds of times meanwhile."""
    with Object.open(compiled("nested", variant)) as probe:
        settings(probe, prints=1)
        with KernelRings(probe, "busy", ring_kib=16) as rings:
            probe.programs["outer"].attach()
            probe.programs["inner"].attach()
            traced = subject()
            rings.follow()
            answers: list[list[str]] = []
            worker = threading.Thread(target=lambda: answers.append(traced.ask("traces", 4, 20_000)))
            read = polls = 0
            with Segment.open(rings.path) as segment:
                schemas = parse_schemas(dict(segment.schemas()[1]))
                worker.start()
                while worker.is_alive():
                    polls += 1
                    for piece in Watch(segment).dump():
                        events = decode_run(piece.data, schemas)[1:]
                        for event in events:
                            role = int(event.fields["role"])
                            assert [event.fields[f"w{i}"] for i in range(6)] == [
                                (event.ticks or 0) ^ role << 56 ^ i for i in range(6)
                            ]
                        read += len(events)
            worker.join()
            assert checked(Gathered(rings.path, answers[0]))
            assert sum(row.bytes for row in rings.counters()) > 300 * 16 * 1024
            assert polls > 20
            assert read > 1000


def test_a_watch_gets_each_record_once(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    with Object.open(compiled("syscalls", variant)) as probe, KernelRings(probe, "watched") as rings:
        probe.programs["on_enter"].attach()
        traced = subject()
        rings.follow()
        (first,) = traced.ask("traces", 1, 5)
        with Segment.open(rings.path) as segment:
            watch = Watch(segment)
            watch.add([bytes.fromhex(first)])
            places = [(piece.chunk, piece.uses, piece.start_unit) for piece in watch.poll()[0]]
            assert len(places) >= 5
            assert watch.poll()[0] == []
            (second,) = traced.ask("traces", 1, 5)
            assert watch.poll()[0] == []
            watch.add([bytes.fromhex(second)])
            later = watch.poll()[0]
            assert {piece.trace_id.hex() for piece in later} == {second}
            places += [(piece.chunk, piece.uses, piece.start_unit) for piece in later]
            assert len(set(places)) == len(places), "an identity is never used twice"
            assert watch.poll()[0] == []


def test_stamps_are_of_the_segments_clock(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    with Object.open(compiled("syscalls", variant)) as probe, KernelRings(probe, "clocks") as rings:
        probe.programs["on_enter"].attach()
        traced = subject()
        rings.follow()
        before_ns = time.time_ns()
        (one,) = traced.ask("traces", 1, 3)
        after_ns = time.time_ns()
        stamps = _stamps(Gathered(rings.path, [one]), one)
        with Segment.open(rings.path, writable=True) as segment:
            segment.calibrate()
            times = [segment.ticks_to_unix_ns(stamp) for stamp in stamps]
    assert len(times) >= 3
    assert all(before_ns - 1_000_000 <= at <= after_ns + 1_000_000 for at in times)
