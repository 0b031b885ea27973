"""An application of one host, as a process of its own that does what it is told."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import wbpf
from bench.build import BenchError

ANSWER_S = 60.0
PAUSE_S = 0.0005


class Application:
    """The parent's end of such a process."""

    def __init__(self, directory: Path, host: str, service: str, size_mib: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=serve, args=(other, directory, host, service, size_mib), daemon=True
        )
        self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def tell(self, name: str, *arguments: Any) -> None:
        """Order something."""
        self._connection.send((name, *arguments))

    def answer(self) -> Any:
        """What came of the oldest order not yet answered.

        Raises:
            BenchError: nothing did.
        """
        try:
            if self._connection.poll(ANSWER_S):
                return self._connection.recv()
        except EOFError:
            pass
        raise BenchError("an application of the benchmark does not answer")

    def ask(self, name: str, *arguments: Any) -> Any:
        """Order something and wait for it."""
        self.tell(name, *arguments)
        return self.answer()

    def stop(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(5)
        self._process.kill()


def serve(connection: Connection, directory: Path, host: str, service: str, size_mib: int) -> None:
    """Be the process: until the parent closes its end."""
    wbpf.open(service, host=host, directory=directory, size_mib=size_mib)
    work = _Work()
    while True:
        try:
            name, *arguments = connection.recv()
        except EOFError:
            return
        connection.send(getattr(work, name)(*arguments))


class _Work:
    def __init__(self) -> None:
        self._open: wbpf.Scope | None = None

    def fill(self, traces: int) -> int:
        """Write traces that nobody wants, all in this process."""
        for number in range(traces):
            with wbpf.trace("bench.other", part=0):
                wbpf.event("bench.step", number=number, what="nothing of interest")
                wbpf.event("bench.step", number=number, what="nothing of interest either")
        return traces

    def write(self, seconds: float, burst: int, pause_s: float) -> int:
        """Write in bursts for some time; returns the number of records."""
        end_s = time.monotonic() + seconds
        written = 0
        while time.monotonic() < end_s:
            written += self.fill(burst)
            time.sleep(pause_s)
        return 4 * written

    def begin(self, peer: str | None) -> bytes:
        """Begin a trace that stays open; returns the context for the next host, if there is one."""
        self._open = wbpf.trace("bench.request")
        self._open.__enter__()
        wbpf.event("bench.step", number=0, what="sent on")
        return wbpf.send(peer).to_bytes() if peer else b""

    def end(self) -> tuple[bytes, int]:
        """Fire a trigger for it and end it; returns its id and when the trigger fired."""
        assert self._open is not None
        fired_unix_ns = time.time_ns()
        wbpf.trigger("bench.slow", 1.0)
        trace_id = bytes.fromhex(self._open.trace_id)
        self._open.__exit__(None, None, None)
        return trace_id, fired_unix_ns

    def parts(self, contexts: Sequence[bytes], peer: str | None) -> list[bytes]:
        """Take part in traces; returns the contexts for the next host."""
        return [self._part(wbpf.TraceContext.from_bytes(context), peer) for context in contexts]

    def begins(self, count: int, peer: str) -> list[bytes]:
        """The same for traces that begin here."""
        return [self._part(None, peer) for _ in range(count)]

    def _part(self, context: wbpf.TraceContext | None, peer: str | None) -> bytes:
        with wbpf.trace("bench.request", parent=context) as scope:
            wbpf.event("bench.step", number=1, what="worked on it")
            return (wbpf.send(peer) if peer else scope.context).to_bytes()

    def fire(self, trace_ids: Sequence[str]) -> int:
        """Fire a trigger for each, waiting while the ring of triggers is full."""
        for trace_id in trace_ids:
            while not wbpf.trigger("bench.slow", 1.0, trace_id=trace_id):
                time.sleep(PAUSE_S)
        return len(trace_ids)
