"""The stream of requests: what the hosts' processes are told, and what becomes of it.

The driver schedules; data go from host to host through the pool. It takes no part in the traces.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from wbpf.demo.data import Array
from wbpf.demo.injector import Effect, Fault, FaultLog, Stage
from wbpf.demo.messages import Finish, Finished, HostLost, Map, Mapped, Owners, Part, Ready, Reduce, Reduced
from wbpf.demo.plan import Request, without
from wbpf.demo.process import HostProcess
from wbpf.errors import WbpfError

#: Requests under way at one time.
IN_FLIGHT = 8


@dataclass(slots=True)
class _Open:
    """A request under way.

    Args:
        working: the number of the host that maps it, under "", or reads a partition of it.
    """

    request: Request
    fault: Fault | None
    working: dict[str, int]
    parts: dict[str, Part] = field(default_factory=dict)
    mapper: int = -1
    trace_id: bytes = b""
    effect: Effect | None = None
    lost: bool = False


@dataclass(slots=True)
class StreamResult:
    """What the stream came to.

    Args:
        finished: the hosts' answers and accounts, by number; without those that died.
        triggered: traces for which a host fired a trigger.
        lost: requests that were under way on a host that died.
        dead: numbers of the hosts that died.
        seconds: from the first request to the end of the last.
    """

    finished: dict[int, Finished] = field(default_factory=dict)
    triggered: set[bytes] = field(default_factory=set)
    lost: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    seconds: float = 0.0


class Driver:
    """Keeps the hosts busy with requests.

    Args:
        hosts: the processes, by number.
        owners: the number of the host that owns each carrier's groups.
        faults: which requests meet a fault.
        log: where the injector writes.
        progress: called with the number of requests done, whenever one is.
    """

    def __init__(
        self,
        hosts: Sequence[HostProcess],
        owners: Array,
        faults: dict[int, Fault],
        log: FaultLog,
        progress: Callable[[int], None],
    ) -> None:
        self._hosts, self._owners, self._faults, self._log = list(hosts), owners, faults, log
        self.progress = progress
        #: Number of the host whose process dies of its next partition.
        self.doomed: int | None = None
        self._alive = set(range(len(hosts)))
        self._open: dict[int, _Open] = {}
        self._done = 0
        self._ready = 0
        self._result = StreamResult()
        self._selector = selectors.DefaultSelector()
        for number, host in enumerate(self._hosts):
            self._selector.register(host.connection, selectors.EVENT_READ, number)

    def run(self, requests: Iterable[Request]) -> StreamResult:
        """Serve all requests.

        Raises:
            WbpfError: every host died.
        """
        try:
            while self._ready < len(self._alive):
                self._hear()
            start = time.monotonic()
            for request in requests:
                while len(self._open) >= IN_FLIGHT:
                    self._hear()
                self._start(request)
            while self._open:
                self._hear()
            self._result.seconds = time.monotonic() - start
            for number in sorted(self._alive):
                self._tell(number, Finish())
            while self._alive:
                self._hear()
        finally:
            self._selector.close()
        return self._result

    def _start(self, request: Request) -> None:
        if not self._alive:
            raise WbpfError(
                "the job can't go on", "every host's process is dead", "look into the hosts' logs"
            )
        mapper = self._stand_in(request.mapper)
        fault = self._faults.get(request.index)
        self._open[request.index] = _Open(request, fault, {"": mapper})
        here = fault if fault and fault.stage is Stage.MAP else None
        self._tell(mapper, Map(request.index, request.start, request.stop, here))

    def _hear(self) -> None:
        for key, _ in self._selector.select():
            number: int = key.data
            try:
                while number in self._alive and self._hosts[number].connection.poll():
                    self._take(number, self._hosts[number].connection.recv())
            except (EOFError, ConnectionResetError):
                self._bury(number)

    def _tell(self, number: int, order: Map | Reduce | Owners | HostLost | Finish) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # that it is dead, `_hear` finds out
            self._hosts[number].connection.send(order)

    def _take(self, number: int, answer: Ready | Mapped | Reduced | Finished) -> None:
        match answer:
            case Ready():
                self._ready += 1
            case Mapped():
                self._mapped(number, answer)
            case Reduced():
                request = self._open[answer.request]
                self._note(request, answer)
                del request.working[answer.object_id]
                self._close_if_done(request)
            case Finished():
                self._result.finished[number] = answer
                self._alive.discard(number)
                self._selector.unregister(self._hosts[number].connection)

    def _mapped(self, number: int, answer: Mapped) -> None:
        request = self._open[answer.request]
        request.trace_id, request.mapper = answer.trace_id, number
        self._note(request, answer)
        del request.working[""]
        fault, chosen = request.fault, None
        if fault and fault.stage is Stage.REDUCE:
            remote = [part for part in answer.parts if part.owner != number]
            chosen = remote[int(fault.pick * len(remote))] if remote else None
        for part in answer.parts:
            reader = self._stand_in(part.owner)
            request.working[part.object_id], request.parts[part.object_id] = reader, part
            here = fault if part is chosen else None
            fatal = self.doomed == reader
            self._tell(reader, Reduce(answer.request, part, answer.virtual_ns, here, fatal))

    def _note(self, request: _Open, answer: Mapped | Reduced) -> None:
        request.effect = answer.effect or request.effect
        if answer.triggered:
            self._result.triggered.add(answer.trace_id)

    def _close_if_done(self, request: _Open) -> None:
        if request.working:
            return
        del self._open[request.request.index]
        if request.fault:
            self._log.write(request.request.index, request.trace_id, request.fault, request.effect)
        if request.lost:
            self._result.lost.append(request.request.index)
        self._done += 1
        self.progress(self._done)

    def _stand_in(self, number: int) -> int:
        """That host, or one for it if it is dead."""
        if number in self._alive:
            return number
        alive = sorted(self._alive)
        return alive[number % len(alive)]

    def _bury(self, number: int) -> None:
        """Go on without a dead host: others take over its groups, and ask for the traces it was in."""
        host = self._hosts[number]
        if self._ready < len(self._hosts):
            raise WbpfError(f"host {host.name} can't take part", host.last_words(), f"look at {host.log}")
        self._alive.discard(number)
        self._selector.unregister(host.connection)
        self._result.dead.append(number)
        if self._alive:
            self._owners = without(self._owners, number, sorted(self._alive))
            for other in self._alive:
                self._tell(other, Owners(self._owners))
        for request in list(self._open.values()):
            left = [work for work, worker in request.working.items() if worker == number]
            if not left:
                continue
            request.lost = True
            contexts = tuple(request.parts[work].context for work in left if work)
            if contexts and self._alive:
                self._tell(self._stand_in(request.mapper), HostLost(host.name, contexts[:1]))
                self._result.triggered.add(request.trace_id)
            for work in left:
                del request.working[work]
            self._close_if_done(request)
