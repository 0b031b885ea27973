"""A segment flushed to a pool and read back, in one process that is both hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbpf.errors import ConfigError, PoolFull, SegmentError, WbpfError
from wbpf.pool import Pool, PoolHost
from wbpf.pooled import Flusher, FlushSpec, recover, regions
from wbpf.recorder import Segment, Watch

Record = Callable[..., str]

WRITER = """
import sys, wbpf
wbpf.open("svc", host="a", directory=sys.argv[1], size_mib=8)
with wbpf.trace("step", where="writer") as scope:
    for number in range(int(sys.argv[2])):
        wbpf.event("work", number=number)
print(scope.trace_id)
"""


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    path = Path("/dev/shm") / f"wbpf-test-pooled-{tmp_path.parent.name}-{tmp_path.name}"
    with Pool.create(path, 24 << 20, hosts=("a", "b")) as made:
        try:
            yield made
        finally:
            made.unlink()


@pytest.fixture
def members(pool: Pool) -> Iterator[tuple[PoolHost, PoolHost]]:
    with pool.join("a") as here, pool.join("b") as there:
        yield here, there


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Has a process record a trace on host a."""

    def run(events: int = 3) -> str:
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(events)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return run


@pytest.fixture
def segment(tmp_path: Path, record: Record) -> Iterator[Segment]:
    record()
    with Segment.open(tmp_path / "a/svc.seg") as opened:
        yield opened


def records_of(segment: Segment, trace_id: str) -> int:
    watch = Watch(segment)
    watch.add([bytes.fromhex(trace_id)])
    return sum(piece.records for piece in watch.poll()[0])


def test_what_was_flushed_is_what_is_recovered(
    segment: Segment, members: tuple[PoolHost, PoolHost], record: Record
) -> None:
    here, there = members
    flusher = Flusher(segment, here)
    trace_id = record(100)
    flusher.round()
    late = record(1)
    ((region, copy),) = recover(there, here.host_id)[0].items()
    assert regions(there, here.host_id) == [region]
    assert (copy.rounds, copy.torn) == (1, 0) and copy.groups == flusher.counts.groups
    assert copy.flushed_unix_ns == flusher.counts.flushed_unix_ns
    same = (
        "host",
        "host_id",
        "incarnation",
        "service",
        "segment_id",
        "clock_kind",
        "ticks_hz",
        "chunk_bytes",
    )
    assert [getattr(copy.segment, name) for name in same] == [getattr(segment, name) for name in same]
    assert records_of(copy.segment, trace_id) == records_of(segment, trace_id) == 103
    assert (records_of(copy.segment, late), records_of(segment, late)) == (0, 4)
    assert set(copy.segment.schemas()[1]) == set(segment.schemas()[1])
    assert [p.pid for p in copy.segment.processes()] == [p.pid for p in segment.processes()][:2]
    assert not any(process.alive for process in copy.segment.processes())
    flusher.round()
    ((_, newer),) = recover(there, here.host_id, {region: copy})[0].items()
    assert records_of(newer.segment, late) == 4
    assert recover(there, here.host_id, {region: newer})[0][region] is newer, "nothing new: not read again"


def test_of_a_large_segment_the_newest_chunks_are_kept(
    segment: Segment, members: tuple[PoolHost, PoolHost], record: Record
) -> None:
    here, there = members
    flusher = Flusher(segment, here, FlushSpec(region_bytes=1 << 20))
    assert flusher.counts.slots < segment.chunk_count
    early = record(10)
    flusher.round()
    for _ in range(4):
        last = record(10_000)
        flusher.round()
    ((_, copy),) = recover(there, here.host_id)[0].items()
    assert records_of(copy.segment, early) == 0 and copy.segment.counters().lost_until_ticks > 0
    assert 0 < records_of(copy.segment, last) <= records_of(segment, last)
    assert segment.counters().lost_until_ticks == 0


def test_what_does_not_fit_says_so(segment: Segment, members: tuple[PoolHost, PoolHost]) -> None:
    here, there = members
    with pytest.raises(ConfigError, match="at least"):
        Flusher(segment, here, FlushSpec(region_bytes=1000))
    Flusher(segment, here, FlushSpec(region_bytes=8 << 20))
    with pytest.raises(PoolFull, match="no room"):
        [Flusher(segment, here, FlushSpec(region_bytes=8 << 20)) for _ in range(3)]
    segment.close()
    with pytest.raises(SegmentError):
        Flusher(segment, here)
    assert recover(there, there.host_id) == ({}, [])


def test_a_region_that_is_deleted_ends_the_flushing(
    segment: Segment, members: tuple[PoolHost, PoolHost]
) -> None:
    here, there = members
    flusher = Flusher(segment, here)
    flusher.round()
    there.delete(flusher.region, force=True)
    with pytest.raises(WbpfError):
        flusher.round()


def test_a_segment_that_is_cut_is_flushed_no_further(
    segment: Segment, members: tuple[PoolHost, PoolHost], record: Record
) -> None:
    here, there = members
    flusher = Flusher(segment, here)
    trace_id = record(10)
    flusher.round()
    os.truncate(segment.path, 4096)
    with pytest.raises(WbpfError):
        flusher.round()
    (copy,) = recover(there, here.host_id)[0].values()
    assert records_of(copy.segment, trace_id) == 13 and copy.torn == 0


def test_a_segment_flushed_twice_is_read_once(segment: Segment, members: tuple[PoolHost, PoolHost]) -> None:
    here, there = members
    spec = FlushSpec(region_bytes=2 << 20)
    earlier, later = Flusher(segment, here, spec), Flusher(segment, here, spec)
    earlier.round()
    later.round()
    found, faults = recover(there, here.host_id)
    assert list(found) == [later.region] and not faults


@given(content=st.binary(max_size=2000))
@settings(max_examples=50, deadline=None)
def test_any_object_is_a_region_or_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = Path("/dev/shm") / f"wbpf-test-{tmp_path_factory.getbasetemp().name}-any-region"
    Pool.unlink_path(path)
    with Pool.create(path, 1 << 20, hosts=("a", "b")) as pool:
        try:
            with pool.join("a") as here, pool.join("b") as there:
                region = f"wbpf.recorder/{here.host_id:016x}/3"
                with here.create(region, len(content)) as buffer:
                    buffer[:] = content
                found, (fault,) = recover(there, here.host_id)
                assert not found and region in fault
        finally:
            pool.unlink()
