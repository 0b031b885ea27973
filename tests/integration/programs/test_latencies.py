"""runqlat and biolatency count each wait and each request of a generated workload."""

from __future__ import annotations

import mmap
import os
import re
import socket
import time
from pathlib import Path

import pytest

from tests.integration.programs.conftest import Built, Event, traced, wait_for
from wbpf.wasm.filters import Filter

READS, BLOCK = 64, 4096
SLEEPS = 100


def total(events: list[Event], field: str) -> int:
    return sum(int(event[field]) for event in events)


def validate(events: list[Event]) -> None:
    """Counts are those of the histograms, and times fit to their slots."""
    for event in events:
        assert sum(event["us"]) == event["count"]
        least = sum(count * (1 << slot if slot else 0) for slot, count in enumerate(event["us"]))
        most = sum(count * (2 << slot) for slot, count in enumerate(event["us"]))
        assert least * 1000 <= event["total"] <= most * 1000


def test_runqlat_counts_wakeups(built: Built) -> None:
    """A thread that sleeps so often is woken so often; voluntary switches, by the kernel, say the same."""

    def switches() -> int:
        lines = Path("/proc/thread-self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("voluntary")).split()[1])

    filter = Filter(pid=os.getpid())
    with traced(built("runqlat"), lambda: time.sleep(0.01), filter, interval=100_000_000) as events:
        time.sleep(0.3)
        before, known = total(events, "count"), switches()
        for _ in range(SLEEPS):
            time.sleep(0.002)
        slept = switches() - known
        wait_for(lambda: total(events, "count") >= before + slept)
        time.sleep(0.2)
    validate(events)
    counted = total(events, "count") - before
    assert slept >= SLEEPS
    assert slept <= counted, "the process's other threads wait too, so there may be more"


def test_runqlat_reports_to_statsd(built: Built) -> None:
    """What its events say arrives by UDP too."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        to = f"127.0.0.1:{server.getsockname()[1]}"
        module = built("runqlat")
        with traced(module, lambda: time.sleep(0.01), interval=100_000_000, statsd=to) as events:
            wait_for(lambda: len(events) >= 3)
            got = [server.recv(500).decode() for _ in events[:3]]
    for event, text in zip(events, got, strict=False):
        values = {name: int(value) for name, value in re.findall(r"^runqlat\.(\w+):(\d+)\|[cg]$", text, re.M)}
        assert list(values) == ["waits", "total_us", "p50_us", "p99_us"], text
        assert (values["waits"], values["total_us"]) == (event["count"], event["total"] // 1000)
        for percent, name in ((50, "p50_us"), (99, "p99_us")):
            slots = values[name].bit_length()
            assert sum(event["us"][:slots]) * 100 >= percent * event["count"]
            assert sum(event["us"][: slots - 1]) * 100 < percent * event["count"]


def test_biolatency_counts_requests(built: Built, tmp_path: Path) -> None:
    """Direct reads of one block each are one request each, on a file system of a block device."""
    device = tmp_path.stat().st_dev
    if not Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").exists():
        pytest.skip(f"needs a block device: {tmp_path} is on none")
    file = tmp_path / "file"
    file.write_bytes(os.urandom(READS * BLOCK))
    handle = os.open(file, os.O_RDONLY | os.O_DIRECT)
    os.fsync(handle)
    buffer = mmap.mmap(-1, BLOCK)

    def statistics() -> int:
        path = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
        return int(path.read_text().split()[0])

    filter = Filter(pid=os.getpid())
    try:
        with traced(built("biolatency"), lambda: None, filter, interval=100_000_000) as events:
            before, known = total(events, "count"), statistics()
            for number in range(READS):
                assert os.preadv(handle, [buffer], number * BLOCK) == BLOCK
            wait_for(lambda: total(events, "count") >= before + READS)
            time.sleep(0.3)
    finally:
        os.close(handle)
    validate(events)
    assert total(events, "count") - before == READS
    assert statistics() - known >= READS, "the device says the same; others use it too"
