"""Where the time of gatherings goes: `python -m bench.recorder --profile gather`."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import quantiles

from bench.recorder import gather
from bench.recorder.cluster import Cluster, cluster
from bench.recorder.cores import cores_used
from bench.recorder.path import RUNS, SLEEPS, WAITS, Step, Threads
from bench.recorder.run import Run
from bench.recorder.scheduler import Event, recorded_scheduler

SLOW = 0.02  # this share of all is looked at apart
VISITS_MOST = 3  # what comes later counts as one
LEAST_CORES = 0.005
STATES = RUNS, WAITS, SLEEPS

Shares = Counter[tuple[str, str]]


def profile(run: Run) -> str:
    """Gather as the row `gather/4hosts` does, and tell what the time was spent with: a table.

    Raises:
        BenchError: not all that happened could be recorded, or no trace got complete.
        BpfError: the kernel refuses.
    """
    services = [(host, "app") for host in gather.HOSTS]
    count = gather.QUICK_COUNT if run.quick else gather.COUNT
    with run.folder() as folder, cluster(folder, services, gather.SEGMENT_MIB) as hosts:
        gather.fill(hosts, gather.FILLING)
        names = names_of(hosts)
        since_1970_ns = time.time_ns() - time.monotonic_ns()
        with recorded_scheduler(names) as events:
            gathered = gather.gathered(hosts, folder / "traces.db", count, run.seed)
        collector = hosts.tree.children["collector"].pid
    threads = Threads(events, names)
    times = [(fired_ns - since_1970_ns, complete_ns - since_1970_ns) for fired_ns, complete_ns in gathered]
    taken = []
    for fired_ns, complete_ns in times:
        stored = threads.last_flush(collector, complete_ns)
        steps = list(threads.path(stored.thread, stored.mono_ns, fired_ns))[::-1]
        shares = shares_of(steps, names)
        shares["reader", WAITS] += complete_ns - stored.mono_ns
        taken.append((complete_ns - fired_ns, shares))
    taken.sort(key=lambda item: item[0])
    slow = taken[-max(round(len(taken) * SLOW), 1) :]
    slow_times = [(fired, complete) for fired, complete in times if complete - fired >= slow[0][0]]
    return "\n".join(
        [
            *table(taken, slow),
            f"cores, all:  {cores_of(events, names, times)}",
            f"cores, slow: {cores_of(events, names, slow_times)}",
        ]
    )


def cores_of(events: Sequence[Event], names: Mapping[int, str], during: Sequence[tuple[int, int]]) -> str:
    """Who had the cores, in words."""
    used = sorted(cores_used(events, names, during).items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {cores:.2f}" for name, cores in used if cores >= LEAST_CORES)


def table(every: Sequence[tuple[int, Shares]], slow: Sequence[tuple[int, Shares]]) -> list[str]:
    """Mean milliseconds of each visit: of all gatherings, and of the slow ones."""
    p99 = quantiles((taken for taken, _ in every), n=100, method="inclusive")[98]
    lines = [
        f"{len(every)} gatherings; median {every[len(every) // 2][0] / 1e6:.1f} ms, p99 {p99 / 1e6:.1f} ms",
        f"critical path, mean ms: {' / '.join(STATES)}",
        f"{'':16}{'all':>24}{f'slowest {len(slow)}':>28}",
    ]
    visits = dict.fromkeys(visit for _, shares in (*slow, *every) for visit, _ in shares)
    lines += (f"{visit:16}  {cells(every, visit)}  {cells(slow, visit)}" for visit in visits)
    return [*lines, f"{'all of it':16}  {cells(every)}  {cells(slow)}"]


def cells(gathered: Sequence[tuple[int, Shares]], visit: str = "") -> str:
    """The three figures of a visit, or of all."""
    spent: Counter[str] = Counter()
    for _, shares in gathered:
        for (which, state), ns in shares.items():
            if visit in ("", which):
                spent[state] += ns
    return "/".join(f"{spent[state] / len(gathered) / 1e6:8.2f}" for state in STATES)


def names_of(hosts: Cluster) -> dict[int, str]:
    """What each process is, by its id."""
    names = {child.pid: name.partition(" ")[0] for name, child in hosts.tree.children.items()}
    names |= {item.pid: "application" for item in hosts.applications} | {os.getpid(): "reader"}
    for comm in Path("/proc").glob("[0-9]*/comm"):
        if comm.read_text().startswith("ksoftirqd/"):  # it is woken by who sends, and wakes who receives
            names[int(comm.parent.name)] = "network"
    return names


def shares_of(steps: Iterable[Step], names: Mapping[int, str]) -> Shares:
    """How many nanoseconds of a path, first step first, went to which process's which visit, and how."""
    shares: Shares = Counter()
    visits: Counter[str] = Counter()
    for process, together in groupby(steps, key=lambda step: step.process):
        name = names[process]
        visits[name] += 1
        visit = f"{name} {min(visits[name], VISITS_MOST)}"
        for step in together:
            shares[visit, step.state] += step.to_ns - step.from_ns
    return shares
