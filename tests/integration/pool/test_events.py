"""What operations write to the recorder. Those who record are processes of their own, as in production."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import wbpf
from tests.integration.pool.processes import started
from tests.unit.recorder.reading import events, read_trace, segment_in
from wbpf.pool import Pool, PoolHost, faults
from wbpf.records.layout import Level


def put(host: PoolHost, id: str, content: bytes) -> None:
    with host.create(id, len(content)) as buffer:
        buffer[:] = content


def recorded(pipe: Connection, directory: Path, work: Callable[[PoolHost, PoolHost], Any], path: str) -> None:
    """Open a segment, do the work as hosts a and b, and tell its result."""
    wbpf.open("store", host="host1", directory=directory, size_mib=1)
    pool = Pool.open(path)
    with pool.join("a") as a, pool.join("b") as b:
        pipe.send(work(a, b))
    wbpf.close()


def run(work: Callable[[PoolHost, PoolHost], Any], pool: Pool, directory: Path) -> Any:
    with started(recorded, directory, work, str(pool.path)) as (_, pipe):
        return pipe.recv()


def pool_events(directory: Path, trace_id: str) -> list[tuple[str, int, dict[str, Any]]]:
    trace = read_trace(segment_in(directory, service="store"), trace_id)
    assert all(record.name.startswith("pool.") for record in events(trace))
    return [
        (record.name.removeprefix("pool."), record.level, dict(record.fields)) for record in events(trace)
    ]


def low_half(trace_id: str) -> int:
    return int.from_bytes(bytes.fromhex(trace_id)[:8], "little")


def every_operation(a: PoolHost, b: PoolHost) -> Any:
    with wbpf.trace("request") as trace:
        with (writer := a.create("flights/0", 1000)) as buffer:
            buffer[:] = bytes(1000)
        view = b.get("flights/0")
        timing, generation = view.timing, view.generation
        view.refresh()
        view.release()
        b.flush("flights/0")
        b.invalidate((0, 64))
        a.delete("flights/0")
        a.create("y", 1).abort()
    times = {name: getattr(timing, name) for name in ("service_ns", "base_ns", "queue_ns", "virtual_ns")}
    return trace.trace_id, generation, times, writer.timing.virtual_ns, a.host_id, b.host_id


def test_each_operation_is_an_event_of_its_trace(pool: Pool, tmp_path: Path) -> None:
    trace_id, generation, times, sealed_ns, host_a, host_b = run(every_operation, pool, tmp_path)
    found = pool_events(tmp_path, trace_id)
    assert [(name, level) for name, level, _ in found] == [
        ("create", Level.INFO),
        ("seal", Level.INFO),
        ("get", Level.INFO),
        ("refresh", Level.INFO),
        ("release", Level.DEBUG),
        ("flush", Level.DEBUG),
        ("invalidate", Level.DEBUG),
        ("delete", Level.INFO),
        ("create", Level.INFO),
        ("abort", Level.INFO),
    ]
    create, seal, get, *_, delete, _, _ = (fields for _, _, fields in found)
    assert create["id"] == get["id"] == delete["id"] == "flights/0"
    assert create["bytes"] == get["bytes"] == 1000 and create["offset"] == get["offset"]
    assert (create["host"], get["host"], get["writer"]) == (host_a, host_b, host_a)
    assert create["object"] == seal["object"] == get["object"] == delete["object"]
    assert create["generation"] == get["generation"] == get["seen_generation"] == generation
    assert (seal["flushed"], get["filled"], get["hit"], get["stale"]) == (17, 17, 0, 0)
    assert get["writer_trace"] == low_half(trace_id)
    assert get["seen_version"] == get["pool_version"] == 1
    assert {name: get[name] for name in times} == times
    assert seal["virtual_ns"] == sealed_ns


def stale_read(a: PoolHost, b: PoolHost) -> Any:
    with wbpf.trace("earlier") as earlier:
        put(a, "old", b"o" * 640)
        b.get("old").release()
        a.delete("old")
    put(a, "new", b"n" * 640)
    faults.arm_skip_invalidate(b, "new")
    with wbpf.trace("victim") as victim:
        view = b.get("new")
        view.verify()
        seen = view.seen()
        view.release()
    assert seen is not None
    return earlier.trace_id, victim.trace_id, seen.trace_id, a.host_id


def test_stale_bytes_name_where_they_came_from(pool: Pool, tmp_path: Path) -> None:
    earlier, victim, seen, host_a = run(stale_read, pool, tmp_path)
    assert seen.hex() == earlier
    (_, _, get), (name, level, mismatch), _ = pool_events(tmp_path, victim)
    _, _, old = pool_events(tmp_path, earlier)[0]
    assert (get["stale"], get["hit"], get["filled"]) == (11, 11, 0)
    assert get["seen_version"] == get["pool_version"] - 1
    assert get["seen_generation"] == old["generation"] < get["generation"]
    assert (name, level, mismatch["result"]) == ("verify", Level.WARN, 1)
    assert (mismatch["seen_object"], mismatch["seen_generation"]) == (old["object"], old["generation"])
    assert mismatch["writer"] == get["writer"] == host_a
    assert mismatch["writer_trace"] == get["writer_trace"] == low_half(earlier)


def reduced(a: PoolHost, b: PoolHost) -> Any:
    with wbpf.trace("request") as trace:
        wbpf.reduce("warn")
        put(a, "x", b"1")
        b.get("x").release()
    return trace.trace_id


def test_the_level_decides(pool: Pool, tmp_path: Path) -> None:
    assert pool_events(tmp_path, run(reduced, pool, tmp_path)) == []


def one_cycle(a: PoolHost, b: PoolHost) -> Any:
    with wbpf.trace("request") as trace:
        put(a, "flights/0/12345", b"1")
        b.get("flights/0/12345").release()
        a.delete("flights/0/12345")
    return trace.trace_id


def test_events_are_small(pool: Pool, tmp_path: Path) -> None:
    trace_id = run(one_cycle, pool, tmp_path)
    records = events(read_trace(segment_in(tmp_path, service="store"), trace_id))
    ends = [record.identity.unit for record in records[1:]]
    sizes = [8 * (end - record.identity.unit) for record, end in zip(records, ends, strict=False)]
    assert len(sizes) == 4 and max(sizes) <= 152 and sum(sizes) / 4 <= 112
