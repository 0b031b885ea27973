"""From a trigger to the complete trace in the store: four hosts of this machine, real processes."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench.build import BenchError
from bench.recorder.cluster import Cluster, cluster, count_complete, wait_until_complete
from bench.recorder.run import Run
from bench.result import Bar, Row

HOSTS = ("a", "b", "c", "d")
SEGMENT_MIB = 64
FILLING = 300_000  # traces: more than a segment holds
BAR_MS = 20.0
OPEN_MOST = 400
NAMES = ["gather/4hosts/p50", "gather/4hosts/p99", "gather/rate"]


def rows(run: Run) -> Iterator[Row]:
    """All rows named above."""
    services = [(host, "app") for host in HOSTS]
    with run.folder() as folder, cluster(folder, services, SEGMENT_MIB) as hosts:
        fill(hosts, FILLING // 50 if run.quick else FILLING)
        samples = latencies(hosts, folder / "traces.db", 40 if run.quick else 500, run.seed)
        yield Row(
            "gather/4hosts/p50", statistics.median(samples), "ms", samples, facts={"gathers": len(samples)}
        )
        yield Row(
            "gather/4hosts/p99",
            statistics.quantiles(samples, n=100, method="inclusive")[98],
            "ms",
            samples,
            bar=Bar(BAR_MS, f"at most {BAR_MS:g} ms"),
            facts={"gathers": len(samples)},
        )
        yield rate(hosts, folder / "traces.db", 300 if run.quick else 2000, 1 if run.quick else 3)


def fill(hosts: Cluster, traces: int) -> None:
    """Fill every segment with traces that nobody wants."""
    for application in hosts.applications:
        application.tell("fill", traces)
    for application in hosts.applications:
        application.answer()


def latencies(hosts: Cluster, store: Path, count: int, seed: int) -> list[float]:
    """One gather after another, each of a trace that touched all hosts; milliseconds."""
    pauses = random.Random(seed)
    first, *others = hosts.applications
    samples = []
    for _ in range(count):
        contexts = [first.ask("begin", HOSTS[1])]
        for number, application in enumerate(others, start=1):
            peer = HOSTS[number + 1] if number + 1 < len(HOSTS) else None
            contexts = application.ask("parts", contexts, peer)
        trace_id, fired_unix_ns = first.ask("end")
        samples.append((wait_until_complete(store, trace_id) - fired_unix_ns) / 1e6)
        time.sleep(pauses.uniform(0, 0.01))  # not in step with anything that the daemons do at intervals
    return samples


def rate(hosts: Cluster, store: Path, count: int, rounds: int) -> Row:
    """As many gathers as the daemons take: complete traces a second."""
    samples, shares = [], []
    for _ in range(rounds):
        contexts = hosts.applications[0].ask("begins", count, HOSTS[1])
        trace_ids = [context[:16].hex() for context in contexts]
        for number, application in enumerate(hosts.applications[1:], start=1):
            peer = HOSTS[number + 1] if number + 1 < len(HOSTS) else None
            contexts = application.ask("parts", contexts, peer)
        before, cpu = count_complete(store), hosts.cpu_seconds()
        began = time.monotonic()
        fire_all(hosts, store, trace_ids, before)
        seconds = time.monotonic() - began
        samples.append(count / seconds)
        shares.append({name: (now - cpu[name]) / seconds for name, now in hosts.cpu_seconds().items()})
    cores = {name: statistics.median(share[name] for share in shares) for name in shares[0]}
    return Row(
        "gather/rate",
        statistics.median(samples),
        "traces/s",
        samples,
        note=limit(cores),
        facts={"traces": count, "cores_used": {name: round(share, 3) for name, share in cores.items()}},
    )


def fire_all(hosts: Cluster, store: Path, trace_ids: list[str], before: int) -> None:
    """Fire for all of them, a few hundred open at a time, and wait until all are complete.

    Raises:
        BenchError: they are not within half a minute.
    """
    fired = done = 0
    end_s = time.monotonic() + 30
    while done < len(trace_ids):
        turn = fired // OPEN_MOST % len(hosts.applications)
        more = min(OPEN_MOST - (fired - done), len(trace_ids) - fired, 100)
        if more > 0:
            hosts.applications[turn].ask("fire", trace_ids[fired : fired + more])
            fired += more
        else:
            time.sleep(0.005)
        done = count_complete(store) - before
        if time.monotonic() > end_s:
            raise BenchError("traces are not complete", f"{done} of {len(trace_ids)} are, after 30 s")


def limit(cores: dict[str, float]) -> str:
    """In words, what holds the rate back."""
    total, have = sum(cores.values()), len(os.sched_getaffinity(0))
    agents = [share for name, share in cores.items() if name.startswith("agent")]
    shares = {"agents": sum(agents)} | {
        name: cores[name] for name in ("coordinator", "collector", "applications")
    }
    parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) + " of a core"
    busiest = max(cores, key=lambda name: cores[name])
    if cores[busiest] > 0.85:
        return f"limited by the {busiest}, which fills a core ({parts})"
    if total > 0.8 * have:
        return f"limited by the {have} cores, which all processes share ({parts})"
    return f"limited by waiting, for one another or for other programs of the machine ({parts})"
