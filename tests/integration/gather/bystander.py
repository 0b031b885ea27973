"""Somebody who records all the time while other things happen: does it cost more then?"""

from __future__ import annotations

import statistics
from typing import NamedTuple

from tests.integration.gather.cluster import Cluster

#: Its host: it never fires there.
HOST = "r"
EVENTS_A_SLICE = 4000

#: Record until told otherwise; returns when each slice was, and the processor time of an event in ns.
RECORD = f"""
import select, sys, time
slices = []
while not select.select([sys.stdin], [], [], 0.01)[0]:
    with wbpf.trace("busy"):
        at, used = time.monotonic(), time.thread_time_ns()
        for number in range({EVENTS_A_SLICE}):
            wbpf.event("tick", number=number)
        slices.append([at, (time.thread_time_ns() - used) / {EVENTS_A_SLICE}])
result = slices
"""


class Cost(NamedTuple):
    """Medians, in ns an event, and how many slices they are of."""

    calm_ns: float
    busy_ns: float
    calm: int
    busy: int

    @property
    def ratio(self) -> float:
        return self.busy_ns / self.calm_ns


class Bystander:
    """An application that records from now on."""

    def __init__(self, cluster: Cluster) -> None:
        self._application = cluster.application(HOST)
        self._application.send(RECORD)

    def stop(self, phases: list[tuple[float, float, bool]]) -> Cost:
        """What an event cost in calm and in busy phases: (begun, ended, busy), monotonic."""
        self._application.send("result = None")
        costs: dict[bool, list[float]] = {True: [], False: []}
        for at, used in self._application.receive():
            for begun, ended, busy in phases:
                if begun <= at < ended:
                    costs[busy].append(used)
        self._application.receive()
        calm, busy_ns = costs[False], costs[True]
        return Cost(statistics.median(calm), statistics.median(busy_ns), len(calm), len(busy_ns))
