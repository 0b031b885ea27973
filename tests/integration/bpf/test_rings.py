"""Rings deliver every record once, in order, in batches; waiting is fair and ends when it should."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf import Object, Rings
from wbpf.errors import BpfError


@pytest.fixture
def probe(compiled: Compiled) -> Iterator[Object]:
    with Object.open(compiled("maps")) as one:
        one.load()
        yield one


def fill(probe: Object, amount: int, first: int = 0, program: str = "fill") -> int:
    return probe.programs[program].test_run(context=struct.pack("<II", amount, first)).result


def numbers(batch: list[bytes]) -> list[int]:
    return [int.from_bytes(record[:8], "little") for record in batch]


def kept(first: int, amount: int) -> list[int]:
    """Of so many records, every fourth is discarded."""
    return [first + i for i in range(amount) if i % 4 != 3]


def test_a_batch_has_the_records_in_order(probe: Object) -> None:
    with probe.maps["ring"].ring() as ring:
        assert not ring.pending and ring.read() == []
        assert fill(probe, 1000) == 0
        assert ring.pending
        first = ring.read(100)
        assert len(first) == 100 and {len(record) for record in first} == {44}
        assert numbers(first) + numbers(ring.read()) == kept(0, 1000)
        assert not ring.pending and ring.lost is None


def test_frames_are_one_piece(probe: Object) -> None:
    with probe.maps["ring"].ring() as ring:
        fill(probe, 1000)
        got: list[int] = []
        while frames := ring.read_frames(1000):
            assert len(frames) <= 1000
            at = 0
            while at < len(frames):
                size, cpu = struct.unpack_from("<II", frames, at)
                assert (size, cpu) == (44, 0)
                got.append(int.from_bytes(frames[at + 8 : at + 16], "little"))
                at += 8 + (size + 7) // 8 * 8
        assert got == kept(0, 1000)
        fill(probe, 1)
        assert len(ring.read_frames(8)) == 56, "a record that needs more room gets it"


def test_the_ring_wraps_and_refuses_what_does_not_fit(probe: Object) -> None:
    with probe.maps["ring"].ring() as ring:
        got, expected, refused = [], [], 0
        for round in range(12):
            refused += fill(probe, 900, round * 10000)
            got += numbers(ring.read())
            expected += kept(round * 10000, 900)
        assert refused == 0 and got == expected
        assert fill(probe, 3000) > 0, "a full ring"
        rest = numbers(ring.read())
        assert rest == kept(0, 3000)[: len(rest)] and len(rest) > 800


def test_iterating_waits_and_ends(probe: Object) -> None:
    with probe.maps["ring"].ring() as ring:

        def produce() -> None:
            for round in range(20):
                fill(probe, 100, round * 100)
                time.sleep(0.002)
            time.sleep(0.05)
            ring.stop()

        producer = threading.Thread(target=produce)
        producer.start()
        got = [number for batch in ring for number in numbers(batch)]
        producer.join()
        assert got == [number for round in range(20) for number in kept(round * 100, 100)]
        assert not ring.wait(0.02), "nothing comes any more"


def test_a_busy_ring_does_not_starve_another(probe: Object) -> None:
    with (
        probe.maps["ring"].ring() as busy,
        probe.maps["other_ring"].ring() as quiet,
        Rings(busy, quiet) as rings,
    ):
        assert rings.wait(0.01) == []
        stop = threading.Event()

        def produce() -> None:
            while not stop.is_set():
                fill(probe, 500)

        producer = threading.Thread(target=produce)
        producer.start()
        turns = []
        try:
            for ring, batch in rings:
                turns.append(ring)
                if len(turns) == 50:
                    fill(probe, 0, 123, "fill_other")
                if ring is quiet:
                    assert numbers(batch) == [123]
                    rings.stop()
                assert len(turns) < 1000
        finally:
            stop.set()
            producer.join()
        assert len(turns) <= 55, "it had its turn within a few batches"


def test_rings_in_an_event_loop(probe: Object) -> None:
    async def main() -> tuple[list[int], int]:
        ticks, got = 0, []

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        async def produce() -> None:
            for round in range(10):
                fill(probe, 100, round * 100)
                await asyncio.sleep(0.005)
            ring.stop()

        with probe.maps["ring"].ring() as ring:
            ticking, producing = asyncio.create_task(tick()), asyncio.create_task(produce())
            async for batch in ring:
                got += numbers(batch)
            await producing
            ticking.cancel()
        return got, ticks

    got, ticks = asyncio.run(asyncio.wait_for(main(), 20))
    assert got == [number for round in range(10) for number in kept(round * 100, 100)]
    assert ticks > 5, "the loop went on meanwhile"


def test_perf_buffers_count_what_they_lose(probe: Object) -> None:
    run = probe.programs["fill_perf"].test_run
    with probe.maps["perf"].ring(perf_pages=1) as ring:
        assert ring.lost == 0 and ring.read() == []
        assert run(context=struct.pack("<QQ", 50, 7)).result == 0
        assert ring.wait(5)
        assert numbers(ring.read()) == list(range(7, 57))
        refused = run(context=struct.pack("<QQ", 1000, 0)).result
        assert refused > 0, "4 KiB are too few for that"
        got = numbers(ring.read())
        assert got == list(range(len(got))) and len(got) == 1000 - refused
        run(context=struct.pack("<QQ", 1, 5000))  # with the next record the kernel tells how many it dropped
        assert 5000 in numbers(ring.read())
        assert ring.lost == refused
        frames = ring.read_frames()
        assert frames == b""


def test_perf_buffers_are_waited_for_again_after_a_partial_read(probe: Object) -> None:
    with probe.maps["perf"].ring() as ring:
        probe.programs["fill_perf"].test_run(context=struct.pack("<QQ", 10, 0))
        got = []
        while ring.wait(0.05):
            got += numbers(ring.read(3))
        assert sorted(got) == list(range(10))


def test_commands_to_programs(probe: Object) -> None:
    obey = probe.programs["obey"].test_run
    with probe.maps["commands"].user_ring() as ring:
        assert all(ring.submit(struct.pack("<I", i)) for i in range(10))
        assert obey().result == sum(range(10))
        assert obey().result == 0, "each is taken once"
        written = 0
        while ring.submit(struct.pack("<I", 1) + bytes(60)):
            written += 1
        assert written == 4096 // 72
        assert obey().result == written
        assert ring.submit(struct.pack("<I", 3))
        with pytest.raises(BpfError, match="5000 bytes never fit"):
            ring.submit(bytes(5000))


def test_what_is_no_ring(probe: Object) -> None:
    with pytest.raises(BpfError, match="ring 'hash' can't be read: the map is of another kind"):
        probe.maps["hash"].ring()
    with pytest.raises(BpfError, match="ring 'hash' can't be written: the map is of another kind"):
        probe.maps["hash"].user_ring()
    ring = probe.maps["ring"].ring()
    ring.close()
    with pytest.raises(BpfError, match="it was closed"):
        ring.read()
