"""Never complete when a record is missing, and rarely unknown without need.

Random histories of a cluster whose segments are recycled all the time, against a reference: see recording.py.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.coordinator.recording import SERVICE, Process, RecordingCluster, Request, build_maker
from wbpf.agent.watched import Watched
from wbpf.coordinator import verdict
from wbpf.coordinator.gather import Gather
from wbpf.recorder import Segment
from wbpf.records import Status

HOSTS = "abc"
CHUNK_BYTES = 1024


@dataclass
class Machines:
    """Hosts that live through many histories."""

    directory: Path
    processes: dict[str, list[Process]] = field(default_factory=dict)

    def recycled(self) -> int:
        """Records recycled so far."""
        total = 0
        for host in HOSTS:
            with Segment.open(self.directory / host / f"{SERVICE}.seg") as segment:
                total += segment.counters().recycled_records
        return total

    def kill_one(self, rng: random.Random) -> None:
        host = rng.choice(HOSTS)
        which = rng.randrange(len(self.processes[host]))
        self.processes[host][which].kill()
        self.processes[host][which] = Process(self.directory, host)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    maker = build_maker(tmp_path_factory.mktemp("maker"))
    directory = Path(tempfile.mkdtemp(prefix="wbpf-test-", dir="/dev/shm"))
    made = Machines(directory)
    try:
        for host in HOSTS:
            subprocess.run([maker, directory, host, str(CHUNK_BYTES)], check=True)
            made.processes[host] = [Process(directory, host) for _ in range(2)]
        yield made
    finally:
        for process in (process for of_host in made.processes.values() for process in of_host):
            process.kill()
        shutil.rmtree(directory)


@dataclass
class Outcome:
    """What became of the triggered traces of histories."""

    verdicts: Counter[Status] = field(default_factory=Counter)
    incomplete: int = 0

    def count(self, cluster: RecordingCluster, requests: list[Request]) -> None:
        for request in requests:
            assert request.fired == (request.trace_id in cluster.stored)
            if request.fired:
                self.verdicts[cluster.stored[request.trace_id].status] += 1
                missing = cluster.truth(request.trace_id) - cluster.pieces.get(request.trace_id, set())
                self.incomplete += bool(missing)


def play(
    machines: Machines,
    seed: int,
    outcome: Outcome,
    noise: float,
    faults: float = 0.0,
    clears: float = 0.0,
    bursts: tuple[int, ...] = (1, 5, 30, 250),
) -> None:
    """One history. RecordingCluster.check looks at every conclusion."""
    rng = random.Random(seed)
    cluster = RecordingCluster(machines.directory, machines.processes, rng, clears)
    for host in cluster.hosts.values():
        host.connect()
    requests = [Request(cluster) for _ in range(3)]
    try:
        for _ in range(120):
            chance = rng.random()
            host = cluster.any_host()
            if chance < faults:
                fault = rng.randrange(6)
                if fault == 0:
                    host.kill_agent()
                elif fault == 1:
                    cluster.start_coordinator()
                elif fault == 2:
                    host.disconnect()
                elif fault == 3:
                    machines.kill_one(rng)
                elif host.agent is not None:
                    host.connect_collector()
            elif chance < faults + noise:
                rng.choice(host.processes).do("noise", rng.choice(bursts), 700, rng.random() < clears)
            elif chance < 0.5:
                rng.choice(requests).step()
            elif chance < 0.55:
                cluster.pass_time(rng.choice((0.0001, 0.01, 0.3)))
            elif chance < 0.6:
                if host.agent is None:
                    host.start_agent()
                elif host.host is None:
                    host.connect()
            else:
                cluster.something()
        for request in requests:
            while request.running:
                request.step()
        for host in cluster.hosts.values():
            if host.agent is None:
                host.start_agent()
            if host.host is None:
                host.connect()
        cluster.settle(5, 0.1)
        outcome.count(cluster, requests)
    finally:
        for host in cluster.hosts.values():
            host.kill_agent()


def play_hostile(machines: Machines, seeds: range) -> Outcome:
    outcome = Outcome()
    for seed in seeds:
        play(machines, seed, outcome, noise=0.1, faults=0.03, clears=0.3 * (seed % 2))
    assert outcome.incomplete > len(seeds) / 4, "hardly anything was lost"
    assert outcome.verdicts[Status.COMPLETE] > len(seeds) / 4
    return outcome


def play_ample(machines: Machines, seeds: range) -> Outcome:
    outcome = Outcome()
    recycled = machines.recycled()
    for seed in seeds:
        play(machines, seed, outcome, noise=0.03, bursts=(1, 2))
    assert machines.recycled() - recycled > 10 * len(seeds), "nothing was recycled"
    assert outcome.verdicts[Status.UNKNOWN] <= outcome.verdicts.total() / 100, outcome
    return outcome


def test_what_is_called_complete_is(machines: Machines) -> None:
    play_hostile(machines, range(60))


def test_little_is_unknown_when_the_horizon_is_ample(machines: Machines) -> None:
    play_ample(machines, range(60))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thousands_of_histories(machines: Machines) -> None:
    play_hostile(machines, range(10_000, 12_000))
    play_ample(machines, range(20_000, 20_500))


def gather_cleared(machines: Machines) -> RecordingCluster:
    """A trace that is cleared in its middle, which is then recycled first, and gathered nevertheless."""
    cluster = RecordingCluster(machines.directory, machines.processes, random.Random(1))
    for host in cluster.hosts.values():
        host.connect()
    process = machines.processes["a"][0]
    trace_id = process.do("begin", 0, b"")
    marks = cluster.written[bytes.fromhex(trace_id)] = set()
    for mark in range(20):
        process.do("event", 0, mark, 300)
        marks.add(("a", mark))
        if mark == 4:
            process.do("clear", 0)
    process.do("end", 0)
    assert process.do("trigger", trace_id)
    try:
        cluster.settle(3, 0.1)
        assert marks - cluster.pieces[bytes.fromhex(trace_id)], "nothing was recycled"
    finally:
        for host in cluster.hosts.values():
            host.kill_agent()
    return cluster


def test_a_trace_that_was_cleared_is_not_called_complete(machines: Machines) -> None:
    cluster = gather_cleared(machines)
    assert {conclusion.status for conclusion in cluster.stored.values()} == {Status.UNKNOWN}


def ignore_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_lost", lambda *_: "")


def ignore_open_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "open_spans", 0)


def ignore_breadcrumbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gather, "_take_crumbs", lambda *_: (set(), False))


@pytest.mark.parametrize("broken", [ignore_losses, ignore_open_spans, ignore_breadcrumbs])
def test_the_reference_catches(
    machines: Machines, monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None]
) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError, match="said to be complete, but"):
        for seed in range(1000):
            play(machines, seed, Outcome(), 0.1, bursts=(1, 5, 100))


def test_the_reference_catches_a_cleared_trace(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "lose_now", lambda *_: None)
    with pytest.raises(AssertionError, match="said to be complete, but"):
        gather_cleared(machines)
