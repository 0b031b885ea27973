"""What an agent costs while nothing is triggered, and that it reads no chunk."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from mmap import PAGESIZE
from pathlib import Path

from bench.build import BenchError
from bench.recorder.cluster import Cluster, cluster, cpu_seconds, wait_until_complete
from bench.recorder.run import Run
from bench.result import Bar, Row

HOST = "idle"
SERVICES = 4
SEGMENT_MIB = 64
BAR_PERCENT = 0.5
SETTLE_S = 2.0
FAULT_AROUND_BYTES = 65536  # the kernel maps so much around a page that is read, aligned to it
DATA_OFFSET_AT = 176  # segment_header.data_offset
NAMES = ["agent/idle"]


def rows(run: Run) -> Iterator[Row]:
    """All rows named above."""
    seconds = 3 if run.quick else 12
    services = [(HOST, f"app{number}") for number in range(SERVICES)]
    with run.folder() as folder, cluster(folder, services, SEGMENT_MIB) as hosts:
        agent = hosts.tree.children[f"agent {HOST}"].pid
        time.sleep(SETTLE_S)
        hosts.applications[0].tell("write", seconds + 1.0, 100, 0.001)
        samples = shares(agent, seconds)
        written = hosts.applications[0].answer()
        idle = pages_of_chunks(agent, folder / "hosts" / HOST), searches(hosts)
        if idle != (0, 0):
            raise BenchError(
                "the agent has read chunks without a trigger", f"{idle[0]} pages, {idle[1]} searches"
            )
        trigger(hosts, folder / "traces.db")
        pages, searched = pages_of_chunks(agent, folder / "hosts" / HOST), searches(hosts)
    if not pages or not searched:
        raise BenchError(
            "that the agent reads chunks can't be seen here", f"{pages} pages, {searched} searches"
        )
    yield Row(
        "agent/idle",
        sum(samples) / len(samples),
        "% of a core",
        samples,
        bar=Bar(BAR_PERCENT, f"at most {BAR_PERCENT:g} % of a core"),
        note="no page of a chunk was mapped by the agent",
        facts={
            "segments": SERVICES,
            "seconds": seconds,
            "records_written_meanwhile": written,
            "chunk_pages_mapped": idle[0],
            "chunk_pages_mapped_after_a_trigger": pages,
        },
    )


def shares(pid: int, seconds: int) -> list[float]:
    """Percent of a core that a process uses, second by second."""
    samples = []
    for _ in range(seconds):
        cpu, began = cpu_seconds(pid), time.monotonic()
        time.sleep(1)
        samples.append(100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - began))
    return samples


def pages_of_chunks(pid: int, host: Path) -> int:
    """Pages of chunks' data in a process's page table: what it has touched since it mapped the segments."""
    touched = 0
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    for segment in host.glob("*.seg"):
        with segment.open("rb") as file:
            file.seek(DATA_OFFSET_AT)
            (data,) = struct.unpack("<Q", file.read(8))
        ranges = [line.split() for line in maps if line.endswith(str(segment))]
        if not ranges:
            raise BenchError(f"the agent has not opened {segment}")
        for addresses, _, offset, *_ in ranges:
            begin, end = (int(address, 16) for address in addresses.split("-"))
            first = begin + max(data - int(offset, 16), 0)
            first += -first % FAULT_AROUND_BYTES
            with Path(f"/proc/{pid}/pagemap").open("rb") as pagemap:
                pagemap.seek(first // PAGESIZE * 8)
                entries = pagemap.read(max(end - first, 0) // PAGESIZE * 8)
            touched += sum(entry >> 63 for (entry,) in struct.iter_unpack("<Q", entries))
    return touched


def searches(hosts: Cluster) -> int:
    """How often the agent has searched a segment, as it says itself."""
    return hosts.tree.status().hosts[0].agent.searches


def trigger(hosts: Cluster, store: Path) -> None:
    """The counter-test: gather a trace."""
    hosts.applications[1].ask("begin", None)
    trace_id, _ = hosts.applications[1].ask("end")
    wait_until_complete(store, trace_id)
