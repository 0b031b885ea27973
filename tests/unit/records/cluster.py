"""A trace over three hosts, as a request that joins two tables in a pool leaves it."""

from __future__ import annotations

from tests.unit.records.building import EPOCH_NS, SegmentWriter
from wbpf.records import Conclusion, HostPart, Source, Status, Trace, assemble, host_id
from wbpf.records.layout import Level

TRACE_ID = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
LATERAL = bytes.fromhex("00f067aa0ba902b700f067aa0ba902b7")
GET = "pool.get object:str generation:u64 bytes:u64 virtual_ns:u64"


def segments(skew2_ns: int = 0) -> list[SegmentWriter]:
    """What three hosts wrote: host1 asks host2, which asks host3."""
    one, two, three = (
        SegmentWriter("host1", "front"),
        SegmentWriter("host2", "join", skew_ns=skew2_ns),
        SegmentWriter("host3", "store"),
    )
    first = one.run(TRACE_ID).begin(0x10, 0, 1_000, "query").attributes("user id:u64", {"id": 7})
    first.span_begin(0x11, 0x10, 2_000, "plan").log("large join", 3_000).span_end(0x11, 4_000)
    first.send(0xE1, "host2", 0x10, 10_000).done()
    later = one.run(TRACE_ID, chunk=1, start_unit=2).resume(0x10, 90_000)
    later.metric("queue.length", 17.0, 91_000).trigger("slow", 12.5, 95_000, (LATERAL,)).end(0x10, 100_000)
    later.done()

    second = (
        two.run(TRACE_ID, tid=21, pid=20).begin(0x20, 0xE1, 15_000, "join").receive(0xE1, "host1", 15_100)
    )
    second.event(GET, {"object": "flights/3", "generation": 7, "bytes": 4096, "virtual_ns": 500})
    second.event(GET, {"object": "planes/1", "generation": 2, "bytes": 512, "virtual_ns": 900}, 30_000)
    second.send(0xE2, "", 0x20, 40_000)
    second.event(
        "exception type:str message:str",
        {"type": "ChecksumError", "message": "planes/1"},
        60_000,
        level=Level.ERROR,
    )
    second.end(0x20, 80_000).done()

    third = three.run(TRACE_ID, tid=31, pid=30).begin(0x30, 0xE2, 45_000, "fetch").receive(0xE2, "", 45_100)
    third.event("disk.read block:u32", {"block": 9}, 50_000).end(0x30, 55_000).done()
    return [one, two, three]


def part(name: str, status: Status = Status.COMPLETE, *reasons: str, uncertainty_ns: int = 0) -> HostPart:
    return HostPart(name, host_id(name), 7, status, reasons, 0, uncertainty_ns)


def conclusion(*parts: HostPart) -> Conclusion:
    return Conclusion(
        trace_id=TRACE_ID,
        trigger_name="slow",
        trigger_value=12.5,
        trigger_host="host1",
        fired_unix_ns=EPOCH_NS + 95_000,
        group_id=TRACE_ID,
        laterals=(LATERAL,),
        hosts=parts or tuple(part(f"host{i}") for i in (1, 2, 3)),
        concluded_unix_ns=EPOCH_NS + 5_000_000,
    )


def sources(skew2_ns: int = 0) -> list[Source]:
    return [segment.source() for segment in segments(skew2_ns)]


def trace(skew2_ns: int = 0, concluded: Conclusion | None = None) -> Trace:
    return assemble(TRACE_ID, sources(skew2_ns), concluded or conclusion())
