"""More triggers than can be served: whole traces or none, fair shares, and nothing spins."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.gather import bystander
from tests.integration.gather.bystander import Bystander
from tests.integration.gather.cluster import Application, Cluster
from tests.integration.gather.conftest import Start
from tests.integration.gather.test_deaths import EVENTS, fire_many, is_whole
from wbpf.agent import TriggerLimit
from wbpf.records import Status
from wbpf.store import Store, TraceSummary

#: Requests over two spans of one host, each of which triggers at once, under one of two names.
FLOOD = """
import time
began, count = time.perf_counter(), 0
while time.perf_counter() - began < {seconds}:
    for name in ("heavy", "light"):
        with wbpf.trace("flood"):
            for number in range({events}):
                wbpf.event("work", number=number, host="a")
            wbpf.trigger(name)
        count += 1
    time.sleep({pause})
result = count
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs CAP_SYS_ADMIN: a file system of its own: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


#: What the cluster takes, traces a second, 3 of 4 for `heavy`.
TAKEN = 60
BATCH = 120
MAKE = """
contexts = []
for number in range({batch}):
    with wbpf.trace("request") as scope:
        for number in range({events}):
            wbpf.event("work", number=number, host="a")
        contexts.append(wbpf.send("b").to_bytes().hex())
result = contexts
"""
CONTINUE = """
for context in {contexts}:
    with wbpf.trace("request", parent=TraceContext.from_bytes(bytes.fromhex(context))):
        for number in range({events}):
            wbpf.event("work", number=number, host="b")
"""
FIRE = """
import time
for number, context in enumerate({contexts}):
    wbpf.trigger("light" if number % 2 else "heavy", trace_id=context[:32])
    if number % 8 == 0:
        time.sleep(0.001)
"""


@dataclass
class Flood:
    """Requests over two hosts, each of which triggers, under one of two names in turn."""

    cluster: Cluster
    apps: list[Application]
    offered: int = 0
    phases: list[tuple[float, float, bool]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def run(self, seconds: float) -> None:
        """Flood, with pauses."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began, before = time.monotonic(), self.offered
            while time.monotonic() - began < 1:
                self.fire(BATCH)
            self.phases.append((began, time.monotonic(), True))
            self.rates.append((self.offered - before) / (time.monotonic() - began))
            began = time.monotonic()
            time.sleep(0.2)
            self.phases.append((began, time.monotonic(), False))

    def fire(self, count: int) -> None:
        contexts = self.apps[0].do(MAKE.format(batch=count, events=EVENTS))
        self.apps[1].do(CONTINUE.format(contexts=contexts, events=EVENTS))
        self.apps[0].do(FIRE.format(contexts=contexts))
        self.offered += count


def concluded(store: Path) -> list[TraceSummary]:
    with Store.open(store, readonly=True) as opened:
        return [summary for summary in opened.traces(1_000_000) if summary.concluded_unix_ns]


Fault = Callable[[Flood], Iterator[None]]


def nothing(flood: Flood) -> Iterator[None]:
    """No fault."""
    yield


def a_slow_agent(flood: Flood) -> Iterator[None]:
    """The agent of b runs a third of the time."""
    cluster = flood.cluster
    pid = cluster.tree.children["agent b"].pid
    stop = subprocess.Popen(
        ["sh", "-c", f"while kill -STOP {pid}; do sleep 0.1; kill -CONT {pid}; sleep 0.05; done"]
    )
    cluster.until(lambda: state(pid) == "T", "the agent to be stopped")
    try:
        yield
    finally:
        assert stop.poll() is None
        stop.kill()
        stop.wait()
        cluster.resume("agent b")


def no_coordinator(flood: Flood) -> Iterator[None]:
    """It is away."""
    tree = flood.cluster.tree
    flood.cluster.kill("coordinator")
    yield
    assert tree.children["coordinator"].returncode is not None
    tree.restart("coordinator")
    tree.wait_until_attached()


def a_full_disk(flood: Flood) -> Iterator[None]:
    """There is no room for what the collector has to store."""
    filler = flood.cluster.tree.store.parent / "filler"
    fill(filler)
    flood.cluster.until(lambda: flood.fire(BATCH) or flood.cluster.tree.status().collector.fault, "a fault")
    yield
    assert "the store" in flood.cluster.tree.status().collector.fault
    filler.unlink()


def fill(filler: Path) -> None:
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def check_overload(
    start: Start, store: Path, fault: Fault, seconds: float, fair: float, times: float
) -> None:
    """Flood, so many times what is taken, with a fault in the middle third, and look at what was kept."""
    cluster = start(
        "ab" + bystander.HOST,
        limits={"heavy": TriggerLimit(weight=3), "light": TriggerLimit(weight=1)},
        options={"coordinator": {"admission": {"rate_most": float(TAKEN)}}, "collector": {"store": store}},
    )
    cluster.tree.store = store
    flood = Flood(cluster, [cluster.application(host, size_mib=128) for host in "ab"])
    flood.run(1)  # let it find its measure
    began_unix_ns, before, began = time.time_ns(), flood.offered, time.monotonic()
    recorder = Bystander(cluster)
    used = {name: (child.pid, cpu_s(child.pid)) for name, child in cluster.tree.children.items()}
    flood.run(seconds / 3)
    with contextmanager(fault)(flood):
        flood.run(seconds / 3)
    flood.run(seconds / 3)
    passed_s = time.monotonic() - began
    cores = {
        name: (cpu_s(child.pid) - used[name][1]) / passed_s
        for name, child in cluster.tree.children.items()
        if child.pid == used[name][0]
    }
    cost = recorder.stop(flood.phases)
    cluster.until(lambda: cluster.tree.status().coordinator.in_flight == 0, "all gathers to end", 40)
    summaries = concluded(store)
    statuses = Counter(summary.status for summary in summaries)
    kept = Counter(summary.trigger_name for summary in summaries if summary.time_unix_ns > began_unix_ns)
    shares = ", ".join(f"{name} {share:.2f}" for name, share in cores.items())
    print(
        f"\n{fault.__name__}: {flood.offered - before} offered in {passed_s:.0f} s, kept {dict(kept)}, "
        f"{dict(statuses)}; cores used: {shares}; recording an event "
        f"takes {cost.busy_ns:.0f} ns in the flood, {cost.calm_ns:.0f} ns in its pauses"
    )
    assert statistics.median(flood.rates) > times * TAKEN, "it was an overload"
    assert kept["heavy"] / kept["light"] == pytest.approx(3, rel=fair)
    assert statuses[Status.COMPLETE] >= 0.99 * sum(statuses.values())
    with Store.open(store, readonly=True) as opened:
        assert opened.stats().open_gathers == 0, "nothing is kept of a trace that was refused"
        for summary in summaries:
            assert summary.status is not Status.COMPLETE or is_whole(opened.trace(summary.trace_id), "ab")
    assert max(cores.values()) < 0.8, cores
    if seconds >= 10:  # a few seconds are too few to tell it from what else the machine does
        assert cost.ratio < 1.3


FAULTS = [nothing, a_slow_agent, no_coordinator, a_full_disk]


@pytest.mark.parametrize("fault", FAULTS)
def test_an_overload_keeps_whole_traces_and_fair_shares(start: Start, small_disk: Path, fault: Fault) -> None:
    check_overload(start, small_disk / "traces.db", fault, 3, fair=0.15, times=5)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_long_overload_is_shared_within_a_tenth(start: Start, small_disk: Path, fault: Fault) -> None:
    check_overload(start, small_disk / "traces.db", fault, 30, fair=0.1, times=10)


def test_a_limit_of_a_trigger_is_kept_and_counted(start: Start) -> None:
    cluster = start("a", limits={"heavy": TriggerLimit(rate=10, burst=5)})
    app = cluster.application("a")
    app.do(FLOOD.format(seconds=2, events=1, pause=0.02))
    queues = {queue.trigger: queue for queue in cluster.tree.status().hosts[0].agent.queues}
    heavy, light = queues["heavy"], queues["light"]
    assert heavy.fired == light.fired > 50
    assert heavy.admitted == pytest.approx(25, abs=6)
    assert heavy.limited == heavy.fired - heavy.admitted
    assert (light.limited, light.overflowed, light.admitted) == (0, 0, light.fired)
    cluster.until(lambda: cluster.count() == heavy.admitted + light.fired, "all of them to be stored")


def test_daemons_do_not_spin_when_all_is_refused(start: Start) -> None:
    cluster = start("a", limits={"*": TriggerLimit(rate=1, burst=1)})
    app = cluster.application("a")
    app.do(FLOOD.format(seconds=0.5, events=1, pause=0.01))
    children = cluster.tree.children.values()
    cluster.until(lambda: cluster.tree.status().coordinator.in_flight == 0, "quiet")
    time.sleep(0.5)
    before = {child.name: cpu_s(child.pid) for child in children}
    time.sleep(3)
    used = {child.name: cpu_s(child.pid) - before[child.name] for child in children}
    assert max(used.values()) <= 0.05, used


@pytest.mark.slow
def test_a_collector_that_hangs_refuses_traces_whole(start: Start) -> None:
    cluster = start("ab", options={"coordinator": {"admission": {"in_flight_most": 200}}})
    apps = [cluster.application(host, size_mib=32) for host in "ab"]
    ids = fire_many(apps, 10)
    for trace_id in ids:
        cluster.stored(trace_id)
    cluster.pause("collector")
    ids = fire_many(apps, 600)
    cluster.until(lambda: cluster.tree.client().status(5).coordinator.refused > 0, "refusals")
    status = cluster.tree.client().status(5)
    assert status.coordinator.in_flight <= 200
    cluster.resume("collector")
    cluster.until(lambda: cluster.tree.status().coordinator.in_flight == 0, "all gathers to end", 40)
    kept = [trace for trace_id in ids if (trace := cluster.find(trace_id)) is not None]
    assert 0 < len(kept) < len(ids)
    complete = [trace for trace in kept if trace.status is Status.COMPLETE]
    assert len(complete) >= 0.99 * len(kept)
    assert all(is_whole(trace, "ab") for trace in complete)
    with Store.open(cluster.tree.store, readonly=True) as store:
        assert store.stats().open_gathers == 0


@pytest.mark.slow
def test_a_full_disk_loses_nothing(start: Start, small_disk: Path) -> None:
    cluster = start("ab", options={"collector": {"store": small_disk / "traces.db"}})
    cluster.tree.store = small_disk / "traces.db"
    apps = [cluster.application(host, size_mib=32) for host in "ab"]
    ids = fire_many(apps, 20)
    for trace_id in ids:
        cluster.stored(trace_id)
    filler = small_disk / "filler"
    fill(filler)
    more: list[str] = []
    while not (fault := cluster.tree.status().collector.fault):
        more += fire_many(apps, 20)
        assert len(more) < 5000, "the disk never was full"
    assert "the store" in fault
    more += fire_many(apps, 20)
    filler.unlink()
    for trace_id in more:
        assert is_whole(cluster.stored(trace_id, within_s=40), "ab")
    assert cluster.tree.status().collector.fault == ""
