"""A cluster whose segments are real, and a reference that knows what was written to them.

Processes record with the native recorder, into chunks so few and small that they are recycled all the time;
the daemons' logic is played through as in simulated.py.
"""

from __future__ import annotations

import contextvars
import multiprocessing
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import wbpf
from tests.unit.coordinator.doubles import HostDouble
from tests.unit.coordinator.simulated import Cluster
from wbpf.agent.segments import Segments
from wbpf.records import Conclusion, Piece, Status, decode_run
from wbpf.records.layout import Kind

SERVICE = "svc"
#: Opens the segment of a host, which only C can make with chunks this small.
MAKER = """
#include <stdlib.h>
#include <wbpf/trace.h>
int main(int count, char **arguments)
{
    wbpf_options options = {.directory = arguments[1], .host = arguments[2], .service = "svc", .size_mib = 1,
                            .chunk_bytes = (unsigned)atoi(arguments[3])};
    return count != 4 || wbpf_open(&options) != 0;
}
"""
C_ROOT = Path(wbpf._native.__file__).parent / "_c"


def build_maker(folder: Path) -> Path:
    """The program that makes segments."""
    source, program = folder / "maker.c", folder / "maker"
    source.write_text(MAKER)
    library = C_ROOT / "lib"
    flags = [f"-I{C_ROOT / 'include'}", f"-L{library}", f"-Wl,-rpath,{library}", "-lwbpf", "-pthread"]
    subprocess.run(["cc", source, "-o", program, *flags], check=True)
    return program


# ---- the processes that record -----------------------------------------------------------------------------


class Visits:
    """What a process works on: each part of a trace in a context of its own."""

    def __init__(self) -> None:
        self._contexts: dict[int, contextvars.Context] = {}
        self._scopes: dict[int, Any] = {}

    def begin(self, visit: int, parent: bytes) -> str:
        context = self._contexts[visit] = contextvars.Context()
        scope = wbpf.trace("visit", parent=wbpf.TraceContext.from_bytes(parent) if parent else None)
        context.run(scope.__enter__)
        self._scopes[visit] = scope
        return str(scope.trace_id)

    def event(self, visit: int, number: int, size: int) -> None:
        self._contexts[visit].run(wbpf.event, "mark", n=number, filler=bytes(size))

    def send(self, visit: int, peer: str | None) -> bytes:
        return self._contexts[visit].run(wbpf.send, peer).to_bytes()

    def clear(self, visit: int) -> None:
        self._contexts[visit].run(wbpf.clear)

    def end(self, visit: int) -> None:
        self._contexts.pop(visit).run(self._scopes.pop(visit).__exit__, None, None, None)

    def trigger(self, trace_id: str) -> bool:
        return wbpf.trigger("slow", 1.5, trace_id=trace_id)

    def noise(self, count: int, size: int, clear: bool) -> None:
        for _ in range(count):
            with wbpf.trace("noise"):
                wbpf.event("filler", data=bytes(size))
                if clear:
                    wbpf.clear()


def _serve(connection: Connection, directory: str, host: str) -> None:
    wbpf.open(SERVICE, host=host, directory=directory, size_mib=1)
    visits = Visits()
    while True:
        name, arguments = connection.recv()
        connection.send(getattr(visits, name)(*arguments))


class Process:
    """A process of a host."""

    def __init__(self, directory: Path, host: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["wbpf", __name__])
        self._connection, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, str(directory), host), daemon=True)
        self._process.start()
        there.close()

    def do(self, name: str, *arguments: object) -> Any:
        self._connection.send((name, arguments))
        return self._connection.recv()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join()
        self._connection.close()


# ---- hosts and their daemons -------------------------------------------------------------------------------


class RecordingHost(HostDouble):
    """A host with processes and a segment."""

    cluster: RecordingCluster

    def __init__(self, cluster: Cluster, name: str, skew_ns: int) -> None:
        assert isinstance(cluster, RecordingCluster)
        super().__init__(cluster, name, 0)
        self.folder = cluster.directory / name
        self.incarnation = int.from_bytes((self.folder / "incarnation").read_bytes(), "little")
        self.processes = cluster.processes[name]
        self.segments: Segments | None = None

    def unix_ns(self) -> int:
        return time.time_ns()

    def open_folder(self) -> Segments:
        self.segments = Segments(self.folder, lambda attached: None, lambda attached: None)
        self.segments.scan()
        return self.segments

    def kill_agent(self) -> None:
        super().kill_agent()
        if getattr(self, "segments", None) is not None:
            assert self.segments is not None
            self.segments.close()
            self.segments = None


class RecordingCluster(Cluster):
    """Real time passes here, and can be jumped over."""

    def __init__(
        self,
        directory: Path,
        processes: dict[str, list[Process]],
        rng: random.Random,
        clears: float = 0.0,
    ) -> None:
        self.directory = directory
        self.clears = clears
        self.processes = processes
        self._jumped_s = 0.0
        self.written: dict[bytes, set[tuple[str, int]]] = {}
        self.verdicts_seen: Counter[Status] = Counter()
        super().__init__("".join(processes), rng, make_host=RecordingHost)

    @property
    def now_s(self) -> float:
        return time.monotonic() + self._jumped_s

    @now_s.setter
    def now_s(self, to: float) -> None:
        self._jumped_s = max(to - time.monotonic(), self._jumped_s)

    def unix_ns(self) -> int:
        return time.time_ns()

    def any_host(self) -> RecordingHost:
        host = self.rng.choice(list(self.hosts.values()))
        assert isinstance(host, RecordingHost)
        return host

    def pass_time(self, seconds: float) -> None:
        super().pass_time(seconds)
        for host in self.hosts.values():
            if host.host is not None:
                host.ping()

    def take_piece(self, host: HostDouble, piece: Piece) -> None:
        """Note the marks in it, which are the reference's."""
        for record in decode_run(piece.data, {}):
            if record.kind == Kind.EVENT:
                payload = record.fields["payload"]
                assert isinstance(payload, bytes)
                marks = self.pieces.setdefault(piece.trace_id, set())
                marks.add((host.name, int.from_bytes(payload[:8], "little")))

    def truth(self, trace_id: bytes) -> set[tuple[str, int]]:
        return self.written.get(trace_id, set())

    def check(self, conclusion: Conclusion) -> None:
        self.verdicts_seen[conclusion.status] += 1
        super().check(conclusion)


class Request:
    """A trace that runs through processes of hosts, one visit at each; each step writes something."""

    visits = count(1)

    def __init__(self, cluster: RecordingCluster) -> None:
        self.cluster = cluster
        self.trace_id = b""
        self.fired = False
        self._marks = count(1)
        self.running: list[Iterator[None]] = [self._visit(b"", 0)]

    def _visit(self, parent: bytes, depth: int, host: RecordingHost | None = None) -> Iterator[None]:
        cluster, rng = self.cluster, self.cluster.rng
        host = host or cluster.any_host()
        number, which = next(self.visits), rng.randrange(len(host.processes))
        process = host.processes[which]

        def do(name: str, *arguments: object) -> Any:
            if host.processes[which] is not process:
                raise ProcessDied
            return process.do(name, *arguments)

        try:
            trace_id = bytes.fromhex(do("begin", number, parent))
            self.trace_id = self.trace_id or trace_id
            written = cluster.written.setdefault(self.trace_id, set())
            yield
            for _ in range(rng.randrange(1, 6)):
                what = rng.random()
                if what < 0.3 and depth < 3:
                    peer = cluster.any_host()
                    sent = do("send", number, peer.name if rng.random() < 0.8 else None)
                    self.running.append(self._visit(sent, depth + 1, peer))
                elif what < 0.45:
                    self.fired = do("trigger", self.trace_id.hex()) or self.fired
                elif what < 0.45 + cluster.clears:
                    do("clear", number)
                else:
                    mark = next(self._marks)
                    do("event", number, mark, rng.choice((0, 20, 300)))
                    written.add((host.name, mark))
                yield
            do("end", number)
            yield
        except ProcessDied:
            return

    def step(self) -> None:
        if self.running:
            visit = self.cluster.rng.choice(self.running)
            if next(visit, self) is self:
                self.running.remove(visit)


class ProcessDied(Exception):
    """The process of a visit was killed: nothing more is written for it."""
