"""Daemons killed at random moments of many gathers: nothing lost or doubled, and recording goes on."""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gather import bystander
from tests.integration.gather.bystander import Bystander
from tests.integration.gather.cluster import Application, Cluster, running
from tests.integration.gather.test_deaths import EVENTS, all_are_stored_once_and_whole
from wbpf.up import Tree
from wbpf.up.tree import Child

#: A long run can be cut into pieces: KILLS=250 SEED=1, KILLS=250 SEED=2, …
KILLS = int(os.environ.get("KILLS", "1000"))
SEED = int(os.environ.get("SEED", "1"))
HOSTS = "ab"
#: Triggers not yet stored, at most: fewer than keep their slot in a segment, where they outlive the agent.
OPEN_MOST = 80


class PreparedTree(Tree):
    """A tree with daemons in reserve, which have imported all and wait to be told what to be."""

    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self._reserve: dict[str, list[Child]] = {}

    def prepare(self, name: str) -> None:
        kind = name.partition(" ")[0]
        self._reserve.setdefault(kind, []).append(Child(name, f"wbpf.{kind}", self.spec.logs))

    def _spawn(self, name: str) -> None:
        ready = self._reserve.get(name.partition(" ")[0])
        if not ready:
            super()._spawn(name)
            return
        child = ready.pop(0)
        child.name = name
        self.children[name] = child

    def stop(self) -> None:
        for children in self._reserve.values():
            for child in children:
                child.kill()
                child.stop()
        self._reserve.clear()
        super().stop()


@dataclass
class Killing:
    """What was done."""

    ids: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    in_flight: list[int] = field(default_factory=list)
    phases: list[tuple[float, float, bool]] = field(default_factory=list)


def concluded(store: Path) -> int:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM traces WHERE concluded_unix_ns").fetchone()
    return int(count)


def fire(cluster: Cluster, apps: list[Application], rng: random.Random, done: Killing) -> None:
    """A request over the hosts that triggers at once."""
    done.ids.append(cluster.request(apps, EVENTS))
    assert rng.choice(apps).trigger(done.ids[-1])


def has_room(cluster: Cluster, done: Killing) -> bool:
    return len(done.ids) - concluded(cluster.tree.store) < OPEN_MOST


def kill_some(
    cluster: Cluster, apps: list[Application], rng: random.Random, kills: int, done: Killing
) -> None:
    """Fire all the time; in the middle of it kill a daemon and start it anew, again and again."""
    names = ["coordinator", "collector", *(f"agent {host}" for host in HOSTS + bystander.HOST)]
    assert isinstance(cluster.tree, PreparedTree)
    for number in range(kills):
        if number % 10 == 0:  # now and then all are left alone, to compare
            begun = time.monotonic()
            while time.monotonic() - begun < 0.4:
                cluster.until(lambda: has_room(cluster, done), "gathers to be stored", 60)
                fire(cluster, apps, rng, done)
            done.phases.append((begun, time.monotonic(), False))
        begun = time.monotonic()
        victim = rng.choice(names)
        cluster.until(lambda: has_room(cluster, done), "gathers to be stored", 60)
        for _ in range(rng.randrange(3, 12)):
            fire(cluster, apps, rng, done)
        time.sleep(rng.choice((0, rng.random() * 0.02)))
        done.in_flight.append(len(done.ids) - concluded(cluster.tree.store))
        pid = cluster.tree.children[victim].pid
        cluster.kill(victim)
        assert not Path(f"/proc/{pid}").exists()
        done.killed[victim.partition(" ")[0]] += 1
        for _ in range(rng.randrange(0, 4)):
            fire(cluster, apps, rng, done)
        cluster.tree.restart(victim)
        cluster.tree.prepare(victim)
        done.phases.append((begun, time.monotonic(), True))


def check_kills(store: Path, kills: int, seed: int, slower_most: float) -> None:
    rng = random.Random(seed)
    # Nothing is to be refused, however busy this machine is.
    options = {"coordinator": {"retain_s": 30.0, "admission": {"lag_s": 600.0}}}
    with running(store, HOSTS + bystander.HOST, PreparedTree, options=options) as cluster:
        apps = [cluster.application(host, size_mib=64) for host in HOSTS]
        assert isinstance(cluster.tree, PreparedTree)
        for kind in ("coordinator", "collector", "agent", "agent"):
            cluster.tree.prepare(kind)
        recorder = Bystander(cluster)
        done = Killing()
        kill_some(cluster, apps, rng, kills, done)
        cost = recorder.stop(done.phases)
        all_are_stored_once_and_whole(cluster, done.ids, HOSTS)
        assert concluded(store) == len(set(done.ids)) == len(done.ids)
        triggers_dropped = sum(
            s.triggers_dropped for h in cluster.tree.status().hosts for s in h.agent.segments
        )
        assert triggers_dropped == 0
    assert sum(count > 0 for count in done.in_flight) > 0.8 * kills, "they died while gathers were under way"
    print(
        f"\n{kills} kills, seed {seed}: {dict(done.killed)}; in flight when killed: median "
        f"{statistics.median(done.in_flight):g}; {len(done.ids)} traces, each stored once and complete; "
        f"recording an event takes {cost.busy_ns:.0f} ns while daemons die, {cost.calm_ns:.0f} ns while none "
        f"does ({cost.busy} and {cost.calm} slices)"
    )
    assert cost.ratio <= slower_most


def test_daemons_killed_in_the_middle_of_gathers(tmp_path: Path) -> None:
    check_kills(tmp_path / "traces.db", 15, 5, 1.5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_daemons_killed_a_thousand_times(tmp_path: Path) -> None:
    check_kills(tmp_path / "traces.db", KILLS, SEED, 1.2)
