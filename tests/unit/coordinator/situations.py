"""What tests make hosts do."""

from __future__ import annotations

import random

from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from wbpf.coordinator import CoordinatorSpec
from wbpf.records import Conclusion, HostPart
from wbpf.records.layout import Direction, Kind

TRACE, LATERAL, OTHER, THIRD = (bytes([n]) * 16 for n in (1, 2, 3, 4))


def connected(names: str, spec: CoordinatorSpec | None = None) -> Cluster:
    made = Cluster(names, random.Random(1), spec)
    for host in made.hosts.values():
        host.connect()
    made.settle(0.1)
    return made


def visit(
    host: HostDouble,
    trace_id: bytes,
    span: int,
    edge: int = 0,
    sender: HostDouble | None = None,
    end: bool = True,
) -> int:
    """A host takes part in a trace; returns when the trace began."""
    cluster, start = host.cluster, host.unix_ns()
    cluster.write(host, trace_id, Kind.BEGIN, span, edge, start)
    if edge:
        cluster.write(host, trace_id, Kind.BREADCRUMB, crumb=cluster.crumb(Direction.IN, sender, edge))
    if end:
        cluster.write(host, trace_id, Kind.END)
    return start


def send(host: HostDouble, trace_id: bytes, edge: int, peer: HostDouble | None) -> None:
    cluster = host.cluster
    cluster.write(host, trace_id, Kind.BREADCRUMB, crumb=cluster.crumb(Direction.OUT, peer, edge))


def part(conclusion: Conclusion, name: str) -> HostPart:
    (found,) = (item for item in conclusion.hosts if item.name == name)
    return found
