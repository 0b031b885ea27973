"""A trace with accesses to a pool, as `wbpf.pool` writes them: one of them reads old bytes, one is slow."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.records.building import EPOCH_NS, SegmentWriter
from tests.unit.records.cluster import LATERAL, TRACE_ID, conclusion, part
from wbpf.records import Conclusion, HostPart, Source, Trace, Value, assemble, host_id
from wbpf.records.layout import Level

TIMING = "virtual_ns:u64 service_ns:u64 base_ns:u64 queue_ns:u64"
IDENTITY = "host:u64 object:u64 generation:u64"
CREATE = f"pool.create {IDENTITY} offset:u64 bytes:u64 {TIMING} id:str"
SEAL = f"pool.seal {IDENTITY} bytes:u64 flushed:u32 checksum:u32 {TIMING}"
GET = (
    f"pool.get {IDENTITY} offset:u64 bytes:u64 filled:u32 hit:u32 stale:u32 seen_version:u32 "
    f"pool_version:u32 seen_generation:u64 writer:u64 writer_trace:u64 {TIMING} id:str"
)
VERIFY = (
    f"pool.verify {IDENTITY} result:u32 seen_object:u64 seen_generation:u64 writer:u64 writer_trace:u64 "
    "envelope_checksum:u32 checksum:u32 virtual_ns:u64"
)
OBJECT, OTHER = 0xABCDEF, 0xFEDCBA
EARLIER = LATERAL


def values(host: str, generation: int, **more: Value) -> dict[str, Value]:
    fields: dict[str, Value] = {
        "host": host_id(host),
        "object": OBJECT,
        "generation": generation,
        "offset": 4096,
        "bytes": 8000,
        "virtual_ns": 9_000,
        "service_ns": 1_000,
        "base_ns": 1_000,
        "queue_ns": 0,
        "id": "part/3",
    }
    return {**fields, **more}


def got(host: str, generation: int, **more: Value) -> dict[str, Value]:
    lines: dict[str, Value] = {
        "filled": 126,
        "hit": 0,
        "stale": 0,
        "seen_version": 4,
        "pool_version": 4,
        "seen_generation": generation,
        "writer": 0,
        "writer_trace": 0,
    }
    return {**values(host, generation), **lines, **more}


def pool_sources() -> list[Source]:
    """host2 writes generation 8 and asks host1 to read it, which gets generation 7."""
    writer, reader = SegmentWriter("host2", "map"), SegmentWriter("host1", "reduce")
    run = writer.run(TRACE_ID).begin(1, 0, 0, "shuffle")
    run.event(CREATE, values("host2", 8), 10_000)
    run.event(SEAL, {**values("host2", 8), "flushed": 126, "checksum": 77}, 20_000)
    run.send(0xE1, "host1", 1, 30_000).end(1, 90_000).done()
    read = (
        reader.run(TRACE_ID, tid=31, pid=30).begin(2, 0xE1, 40_000, "reduce").receive(0xE1, "host2", 40_100)
    )
    half = int.from_bytes(EARLIER[:8], "little")
    stale = {"filled": 100, "hit": 26, "stale": 26, "seen_version": 3, "seen_generation": 7}
    read.event(GET, got("host1", 8, writer=host_id("host2"), writer_trace=half, **stale), 50_000)
    read.event(
        VERIFY,
        {
            **values("host1", 8),
            "result": 1,
            "seen_object": OTHER,
            "seen_generation": 7,
            "writer": host_id("host2"),
            "writer_trace": half,
            "envelope_checksum": 1,
            "checksum": 2,
        },
        52_000,
        level=Level.WARN,
    )
    slow = got("host1", 9, object=OTHER, id="part/4", service_ns=12_000, queue_ns=11_000)
    read.event(GET, slow, 60_000)
    read.trigger("stale_read", 1.0, 70_000, (EARLIER,)).end(2, 80_000).done()
    return [writer.source(), reader.source()]


def earlier_sources() -> list[Source]:
    """The trace in which host2 wrote generation 7."""
    writer = SegmentWriter("host2", "map")
    run = writer.run(EARLIER, chunk=9).begin(0x71, 0, 100, "shuffle")
    run.event(CREATE, values("host2", 7, object=OTHER, id="part/4"), 200)
    run.event(SEAL, {**values("host2", 7, object=OTHER), "flushed": 126, "checksum": 55}, 300)
    run.end(0x71, 400).done()
    return [writer.source()]


def stale_read(*parts: HostPart) -> Conclusion:
    """What became of the gather that the stale read triggered."""
    return replace(
        conclusion(*parts),
        trigger_name="stale_read",
        trigger_value=1.0,
        fired_unix_ns=EPOCH_NS + 70_000,
    )


def pooled() -> Trace:
    return assemble(TRACE_ID, pool_sources(), stale_read(part("host1"), part("host2")))
