"""More triggers than can be served: whole traces or none, fair shares, and nothing spins."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.gather.cluster import Cluster
from tests.integration.gather.conftest import Start
from tests.integration.gather.test_deaths import EVENTS, fire_many, is_whole
from wbpf.agent import TriggerLimit
from wbpf.records import Status
from wbpf.store import Store

#: They measure how daemons share two cores: not beside anything else.
pytestmark = pytest.mark.slow

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


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def stored_by_trigger(cluster: Cluster) -> tuple[Counter[str], Counter[Status]]:
    with Store.open(cluster.tree.store, readonly=True) as store:
        summaries = [summary for summary in store.traces() if summary.concluded_unix_ns]
    return Counter(s.trigger_name for s in summaries), Counter(s.status for s in summaries)


@pytest.mark.slow
def test_ten_times_more_than_is_served_is_shared_by_weight(start: Start) -> None:
    limits = {"heavy": TriggerLimit(weight=3), "light": TriggerLimit(weight=1)}
    cluster = start("a", limits=limits, options={"coordinator": {"admission": {"rate_most": 80.0}}})
    app = cluster.application("a", size_mib=64)
    app.do(FLOOD.format(seconds=2, events=EVENTS, pause=0.0003))
    before, _ = stored_by_trigger(cluster)
    offered = app.do(FLOOD.format(seconds=8, events=EVENTS, pause=0.0003))
    cluster.until(lambda: cluster.tree.status().coordinator.in_flight == 0, "all gathers to end")
    names, statuses = stored_by_trigger(cluster)
    kept = names - before
    assert offered > 10 * sum(kept.values()), "it was an overload"
    assert kept["heavy"] / kept["light"] == pytest.approx(3, rel=0.25)
    assert statuses[Status.COMPLETE] >= 0.99 * sum(statuses.values())
    with Store.open(cluster.tree.store, readonly=True) as store:
        assert store.stats().open_gathers == 0, "nothing is kept of a trace that was refused"
        for summary in store.traces(20):
            assert summary.records == EVENTS + 3
    status = cluster.tree.status()
    assert status.coordinator.refused > 5 * status.coordinator.complete
    threshold = {item.trigger: item.threshold for item in status.coordinator.admission}
    assert threshold["light"] < threshold["heavy"] < 1


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs a file system of its own: {mounted.stderr.strip()}")
    return folder


def test_a_full_disk_loses_nothing(start: Start, small_disk: Path, tmp_path: Path) -> None:
    try:
        options = {"collector": {"store": small_disk / "traces.db"}}
        cluster = start("ab", options=options)
        cluster.tree.store = small_disk / "traces.db"
        apps = [cluster.application(host, size_mib=32) for host in "ab"]
        ids = fire_many(apps, 20)
        for trace_id in ids:
            cluster.stored(trace_id)
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
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
    finally:
        cluster.tree.stop()
        subprocess.run(["umount", "-l", small_disk], check=False)
