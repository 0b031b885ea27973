"""Programs that interrupt each other on a CPU: every record is whole, and interruptions are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.kernel.conftest import Compile
from tests.integration.kernel.subject import GETPPID, Gathered, Subject
from wbpf.bpf.kernel import Object
from wbpf.bpf.rings import KernelRings
from wbpf.errors import BpfError
from wbpf.records import RawRecord

Start = Callable[..., Subject]
OUTER, INNER, CLOCK = 1, 2, 3


def checked(gathered: Gathered) -> list[tuple[int, RawRecord]]:
    """All events with their processor; each has the words that its stamp and role call for."""
    found = [(piece.chunk, event) for piece in gathered.pieces for event in gathered.events(piece)]
    for _, event in found:
        role = int(event.fields["role"])
        words = [event.fields[f"w{i}"] for i in range(6)]
        assert words == [(event.ticks or 0) ^ role << 56 ^ i for i in range(6)]
    return found


def settings(probe: Object, *, prints: int = 0, spins: int = 0) -> None:
    probe.set("call_number", GETPPID.to_bytes(8, "little"))
    probe.set("prints", prints.to_bytes(4, "little"))
    probe.set("spins", spins.to_bytes(4, "little"))


def test_a_program_inside_another(compiled: Compile, variant: str, directory: Path, subject: Start) -> None:
    with Object.open(compiled("nested", variant)) as probe:
        settings(probe, prints=1)
        with KernelRings(probe, "nested") as rings:
            probe.programs["outer"].attach()
            try:
                probe.programs["inner"].attach()
            except BpfError as error:
                pytest.skip(f"needs the tracepoint bpf_trace_printk: {error.why}")
            traced = subject()
            rings.follow()
            ids = traced.ask("traces", 10, 20)
            found = checked(Gathered(rings.path, ids))
            counters = rings.counters()

    roles = Counter(event.fields["role"] for _, event in found)
    assert roles == {OUTER: 200, INNER: 200}
    assert sum(row.nested for row in counters) == 200, "each inner record, and no other"
    assert sum(row.records for row in counters) == 400
    assert sum(row.refused for row in counters) == 0


def test_the_clock_interrupts_a_program(
    compiled: Compile, variant: str, directory: Path, subject: Start
) -> None:
    with Object.open(compiled("nested", variant)) as probe:
        settings(probe, spins=3000)
        with KernelRings(probe, "clock") as rings:
            probe.programs["outer"].attach()
            try:
                probe.programs["clock"].attach("cpu-clock@20000")
            except BpfError as error:
                pytest.skip(f"needs perf events on a clock: {error.why}")
            traced = subject()
            rings.follow()
            ids = traced.ask("traces", 20, 50)
            found = checked(Gathered(rings.path, ids))
            counters = rings.counters()

    outer = [
        (cpu, event.ticks or 0, int(event.fields["end_ns"]))
        for cpu, event in found
        if event.fields["role"] == OUTER
    ]
    ticks = [(cpu, event.ticks or 0) for cpu, event in found if event.fields["role"] == CLOCK]
    inside = sum(any(at == cpu and begin < tick < end for at, begin, end in outer) for cpu, tick in ticks)
    counted = sum(row.nested for row in counters)
    assert len(outer) == 1000
    assert inside >= 50, "the clock did not interrupt the program: the test shows nothing"
    # Between taking room and the stamp, and between the last word and the commit, is a moment too.
    assert inside <= counted <= inside + 0.1 * len(ticks) + 2
    assert sum(row.records for row in counters) == len(found)


def test_records_given_up_and_left_open_are_passed_over(
    compiled: Compile, directory: Path, subject: Start
) -> None:
    with Object.open(compiled("careless")) as probe:
        probe.set("call_number", GETPPID.to_bytes(8, "little"))
        probe.set("forget", (1 << 1 | 1 << 5 | 1 << 13).to_bytes(8, "little"))
        with KernelRings(probe, "careless", ring_kib=64) as rings:
            probe.programs["on_enter"].attach()
            traced = subject()
            rings.follow()
            ids = traced.ask("traces", 2, 20)
            gathered = Gathered(rings.path, ids)

    events = [event for piece in gathered.pieces for event in gathered.events(piece)]
    assert [event.fields for event in sorted(events, key=lambda event: event.ticks or 0)] == [
        {"call": call, "text": b"filled"} for call in range(40) if call % 4 != 2 and call not in (1, 5, 13)
    ]


def test_an_open_record_is_forgotten_when_it_is_overwritten(
    compiled: Compile, directory: Path, subject: Start
) -> None:
    with Object.open(compiled("careless")) as probe:
        probe.set("call_number", GETPPID.to_bytes(8, "little"))
        probe.set("forget", (1).to_bytes(8, "little"))
        with KernelRings(probe, "careless", ring_kib=4) as rings:
            probe.programs["on_enter"].attach()
            traced = subject()
            rings.follow()
            traced.ask("traces", 1, 3)
            misled = sum(row.nested for row in rings.counters())
            traced.ask("traces", 1, 200)
            lapped = sum(row.nested for row in rings.counters())
            traced.ask("traces", 1, 200)
            assert misled > 0
            assert sum(row.nested for row in rings.counters()) == lapped < 100
