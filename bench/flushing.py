"""`python -m bench.flushing`: what a round of the flusher costs, and reading a region on another host."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import wbpf
from wbpf.pool import Pool
from wbpf.pooled import Flusher, recover
from wbpf.recorder import Segment

TIMES = 51
TRACES = 2000


def record() -> None:
    for number in range(TRACES):
        with wbpf.trace("x"):
            wbpf.event("e", number=number)


def median_us(work: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    taken = []
    for _ in range(TIMES):
        before()
        start = time.perf_counter_ns()
        work()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def main() -> None:
    with TemporaryDirectory(dir="/dev/shm") as memory, Pool.create(f"{memory}/pool", 64 << 20) as pool:
        wbpf.open("svc", host="host0", directory=memory)
        segment = Segment.open(Path(memory) / "host0/svc.seg")
        with pool.join("host0") as here, pool.join("host1") as there:
            flusher = Flusher(segment, here)
            record()
            flusher.round()
            one = flusher.counts.bytes
            rows: dict[str, float] = {"flushed_kib": one / 1024}
            rows["recover_us"] = median_us(lambda: recover(there, here.host_id))
            rows["idle_round_us"] = median_us(flusher.round)
            rows["round_us"] = median_us(flusher.round, record)
            del flusher
        print(json.dumps({name: round(value, 1) for name, value in rows.items()}))


if __name__ == "__main__":
    main()
