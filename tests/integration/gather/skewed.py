"""Hosts whose wall clocks are wrong: what they recorded, against the one true clock that they share."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.integration.gather.cluster import Application, Cluster
from wbpf.records import Record, Trace
from wbpf.up import Tree, TreeSpec

SOURCE = Path(__file__).parent / "skewed_clock.c"
MS = 1_000_000

#: A part of a request, with the true time before and after each event.
TIMED = """
import time
def timed(context, peer, events):
    parent = TraceContext.from_bytes(bytes.fromhex(context)) if context else None
    with wbpf.trace("visit", parent=parent) as scope:
        for _ in range(events):
            wbpf.event("tick", mono_ns=time.monotonic_ns())
        onward = wbpf.send(peer).to_bytes().hex() if peer else ""
        wbpf.event("tick", mono_ns=time.monotonic_ns())
    return scope.trace_id, onward
result = time.time_ns() - time.monotonic_ns()
"""


@dataclass(frozen=True)
class Skew:
    """How wrong a wall clock is."""

    offset_ns: int
    ppm: float


class SkewedHosts:
    """Makes processes see the wall clock of their host.

    Args:
        library: where the preloaded library is to be built.
        skews: by host; the others have the true clock.
    """

    def __init__(self, library: Path, skews: Mapping[str, Skew]) -> None:
        self.skews = skews
        self._library = library
        self._origin_ns = time.monotonic_ns()
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)

    @contextmanager
    def clock_of(self, host: str) -> Iterator[None]:
        """Processes that are started meanwhile have it."""
        skew = self.skews.get(host)
        if skew is None:
            yield
            return
        os.environ["LD_PRELOAD"] = str(self._library)
        os.environ["SKEWED_CLOCK"] = f"{skew.offset_ns} {skew.ppm} {self._origin_ns}"
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["SKEWED_CLOCK"]

    def tree(self, spec: TreeSpec) -> Tree:
        """Daemons, of which each agent has the clock of its host."""
        hosts = self

        class SkewedTree(Tree):
            def _spawn(self, name: str) -> None:
                with hosts.clock_of(name.removeprefix("agent ")):
                    super()._spawn(name)

        return SkewedTree(spec)

    def application(self, cluster: Cluster, host: str) -> Application:
        """An application of the host, whose clock is as wrong as it should be."""
        with self.clock_of(host):
            application = cluster.application(host)
        skewed_ns = application.do(TIMED) - true_unix_ns(0)
        skew = self.skews.get(host, Skew(0, 0))
        drifted_ns = (time.monotonic_ns() - self._origin_ns) * skew.ppm / 1e6
        assert abs(skewed_ns - skew.offset_ns - drifted_ns) < MS, "the clock was not skewed"
        return application


def true_unix_ns(mono_ns: int) -> int:
    """The coordinator's wall clock, which is this process's, at a time of the monotonic clock."""
    readings = []
    for _ in range(5):
        before, unix_ns, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, unix_ns - (before + after) // 2))
    return mono_ns + min(readings)[1]


def timed_request(applications: list[Application], events: int) -> str:
    """One request through hosts, one after another."""
    context, first = "", ""
    for here, there in zip(applications, [*applications[1:], None], strict=True):
        peer = there.host if there else ""
        trace_id, context = here.do(f"result = timed({context!r}, {peer!r}, {events})")
        first = first or trace_id
    return first


@dataclass(frozen=True)
class Judged:
    """How right a trace's times are.

    Args:
        right: the truth lies within the stated uncertainty, for all records.
        excess_ns: by how much the worst is outside.
        uncertainty_ns: the largest stated.
        uncorrected_ns: by how much the time of the record that is most wrong would be wrong as written.
        reversed_unless_corrected: breadcrumbs that would be shown after their effects.
    """

    right: bool
    excess_ns: int
    uncertainty_ns: int
    uncorrected_ns: int
    reversed_unless_corrected: int


def judge(trace: Trace) -> Judged:
    """Compare a trace's times with the truth, and see that its order is that of causes and effects."""
    parts = {part.name: part for part in trace.hosts}
    excess_ns = uncorrected_ns = 0
    for host, part in parts.items():
        ticks = [r for r in trace.records if r.name == "tick" and r.host == host]
        for tick, following in pairwise(ticks):
            # It was stamped between this event's reading of the true clock and the next one's.
            earliest, latest = (true_unix_ns(_mono_ns(r)) for r in (tick, following))
            stated = tick.time_unix_ns - trace.shifts_ns.get(host, 0)
            wrong_ns = max(earliest - stated, stated - latest, 0)
            excess_ns = max(excess_ns, wrong_ns - part.uncertainty_ns)
            assert abs(trace.shifts_ns.get(host, 0)) <= 2 * part.uncertainty_ns
            written = stated - part.offset_ns
            uncorrected_ns = max(uncorrected_ns, earliest - written, written - latest)
    places = {id(record): place for place, record in enumerate(trace.records)}
    backwards = 0
    for edge in trace.edges:
        assert edge.sent is not None and edge.received is not None
        assert places[id(edge.sent)] < places[id(edge.received)], "an effect is shown before its cause"
        assert edge.sent.time_unix_ns <= edge.received.time_unix_ns
        sent, received = (
            r.time_unix_ns - parts[r.host].offset_ns - trace.shifts_ns.get(r.host, 0)
            for r in (edge.sent, edge.received)
        )
        backwards += sent > received
    widest_ns = max(part.uncertainty_ns for part in trace.hosts)
    return Judged(excess_ns <= 0, excess_ns, widest_ns, uncorrected_ns, backwards)


def _mono_ns(record: Record) -> int:
    value = record.fields["mono_ns"]
    assert isinstance(value, int)
    return value
