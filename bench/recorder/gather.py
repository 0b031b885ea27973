"""From a trigger to the complete trace in the store: four hosts of this machine, real processes."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench.build import BenchError
from bench.recorder.cluster import Cluster, cluster, count_conclusions, wait_until_complete
from bench.recorder.run import Run
from bench.result import Bar, Row

HOSTS = ("a", "b", "c", "d")
SEGMENT_MIB = 64
FILLING = 300_000  # traces: more than a segment holds
BAR_MS = 20.0
OPEN_MOST = 128  # gathers begun and not yet concluded: several times what the rate needs
STUCK_S = 5.0
COUNT, QUICK_COUNT = 500, 40
NAMES = ["gather/4hosts/p50", "gather/4hosts/p99", "gather/rate"]


def rows(run: Run) -> Iterator[Row]:
    """All rows named above."""
    services = [(host, "app") for host in HOSTS]
    with run.folder() as folder, cluster(folder, services, SEGMENT_MIB) as hosts:
        fill(hosts, FILLING // 50 if run.quick else FILLING)
        samples = latencies(hosts, folder / "traces.db", QUICK_COUNT if run.quick else COUNT, run.seed)
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
    return [(complete_ns - fired_ns) / 1e6 for fired_ns, complete_ns in gathered(hosts, store, count, seed)]


def gathered(hosts: Cluster, store: Path, count: int, seed: int) -> list[tuple[int, int]]:
    """Do that; returns when each was fired and when it was found complete, in ns since 1970."""
    pauses = random.Random(seed)
    first, *others = hosts.applications
    times = []
    for _ in range(count):
        contexts = [first.ask("begin", HOSTS[1])]
        for number, application in enumerate(others, start=1):
            peer = HOSTS[number + 1] if number + 1 < len(HOSTS) else None
            contexts = application.ask("parts", contexts, peer)
        trace_id, fired_unix_ns = first.ask("end")
        times.append((fired_unix_ns, wait_until_complete(store, trace_id)))
        time.sleep(pauses.uniform(0, 0.01))  # not in step with anything that the daemons do at intervals
    return times


def rate(hosts: Cluster, store: Path, count: int, rounds: int) -> Row:
    """As many gathers as the daemons take: complete traces a second."""
    samples, shares, missing = [], [], 0
    for _ in range(rounds):
        contexts = hosts.applications[0].ask("begins", count, HOSTS[1])
        trace_ids = [context[:16].hex() for context in contexts]
        for number, application in enumerate(hosts.applications[1:], start=1):
            peer = HOSTS[number + 1] if number + 1 < len(HOSTS) else None
            contexts = application.ask("parts", contexts, peer)
        cpu, began = hosts.cpu_seconds(), time.monotonic()
        complete, seconds = fire_all(hosts, store, trace_ids)
        if not complete:
            raise BenchError("no trace got complete", f"of {count} that were triggered")
        samples.append(complete / seconds)
        missing += count - complete
        now = time.monotonic() - began
        shares.append({name: (used - cpu[name]) / now for name, used in hosts.cpu_seconds().items()})
    cores = {name: statistics.median(share[name] for share in shares) for name in shares[0]}
    return Row(
        "gather/rate",
        statistics.median(samples),
        "traces/s",
        samples,
        note=limit(cores) + (f"; {missing} of {rounds * count} did not get complete" if missing else ""),
        facts={
            "traces": count,
            "not_complete": missing,
            "cores_used": {name: round(share, 3) for name, share in cores.items()},
        },
    )


def fire_all(hosts: Cluster, store: Path, trace_ids: list[str]) -> tuple[int, float]:
    """Fire for all of them, not too many open at a time; returns how many are complete, and after what time.

    It ends when all are, or when nothing has come for some seconds.
    """
    before = count_conclusions(store)
    fired = complete = concluded = 0
    began = last = time.monotonic()
    while complete < len(trace_ids) and time.monotonic() - last < STUCK_S:
        turn = fired // OPEN_MOST % len(hosts.applications)
        more = min(OPEN_MOST - (fired - concluded), len(trace_ids) - fired)
        if more > 0:
            hosts.applications[turn].ask("fire", trace_ids[fired : fired + more])
            fired += more
        else:
            time.sleep(0.002)
        now = count_conclusions(store)
        if now[0] - before[0] > complete:
            last = time.monotonic()
        complete, concluded = now[0] - before[0], now[1] - before[1]
    return complete, last - began


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
