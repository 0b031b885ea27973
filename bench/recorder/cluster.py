"""Emulated hosts of this machine: daemons and applications, each a process of its own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench.build import BenchError
from bench.recorder.application import Application
from wbpf.up import Tree, TreeSpec

LOOK_S = 0.0005


class Cluster:
    """Daemons and applications that run.

    Args:
        tree: the daemons.
        applications: in the order that they were named in.
    """

    def __init__(self, tree: Tree, applications: Sequence[Application]) -> None:
        self.tree = tree
        self.applications = applications

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time used so far: by each daemon, and by the applications with this process."""
        used = {name: cpu_seconds(child.pid) for name, child in self.tree.children.items()}
        used["applications"] = time.process_time() + sum(cpu_seconds(item.pid) for item in self.applications)
        return used


@contextmanager
def cluster(folder: Path, services: Sequence[tuple[str, str]], size_mib: int) -> Iterator[Cluster]:
    """Start it: an agent a host, an application a (host, service)."""
    hosts = list(dict.fromkeys(host for host, _ in services))
    spec = TreeSpec(
        hosts=hosts,
        directory=folder / "hosts",
        store=folder / "traces.db",
        coordinator="127.0.0.1:0",
        collector="127.0.0.1:0",
    )
    (folder / "hosts").mkdir(mode=0o750)
    with ExitStack() as stack:
        applications = []
        for host, service in services:
            applications.append(Application(folder / "hosts", host, service, size_mib))
            stack.callback(applications[-1].stop)
        for application in applications:
            application.ask("fill", 1)
        tree = stack.enter_context(Tree(spec))
        tree.wait_until_attached()
        yield Cluster(tree, applications)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads, to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)  # the kernel's id of that process's CPUCLOCK_SCHED


def wait_until_complete(store: Path, trace_id: bytes, within_s: float = 5.0) -> int:
    """When a trace was found complete in the store, in ns since 1970.

    Raises:
        BenchError: not in time.
    """
    end_s = time.monotonic() + within_s
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, isolation_level=None)) as database:
        row = seen = None
        while time.monotonic() < end_s:
            version = database.execute("PRAGMA data_version").fetchone()
            if version != seen:  # else a query would take cores from the daemons, for nothing
                seen = version
                row = database.execute("SELECT status FROM traces WHERE trace_id = ?", [trace_id]).fetchone()
                if row and row[0] == "complete":
                    return time.time_ns()
            time.sleep(LOOK_S)
    raise BenchError(f"trace {trace_id.hex()} is not complete", f"in the store after {within_s:g} s: {row}")


def count_conclusions(store: Path) -> tuple[int, int]:
    """How many traces of a store are complete, and how many are concluded."""
    query = "SELECT sum(status = 'complete'), count(*) FROM traces WHERE concluded_unix_ns"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, isolation_level=None)) as database:
        complete, concluded = database.execute(query).fetchone()
    return complete or 0, concluded
