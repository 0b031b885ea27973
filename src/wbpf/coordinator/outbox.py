"""What waits to be sent to one agent. Nothing in here grows beyond the gathers that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar

from wbpf.wire import gather_pb2 as pb

#: Ids in one message of clears, and how many may wait: clears are best effort.
CLEARS_A_MESSAGE = 2048
CLEARS_WAITING = 16 * CLEARS_A_MESSAGE
#: Entries in one message, so that it stays far below what a peer accepts.
ENTRIES_A_MESSAGE = 2048


K = TypeVar("K")
V = TypeVar("V")


class Outbox:
    """Messages for one agent, combined while the stream is busy.

    Args:
        wake: called when something was put into an empty outbox.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.wake = wake
        self._gathers: dict[int, bytes] = {}  # number → trace id to collect, or empty to release
        self._of_others: dict[tuple[int, int], bytes] = {}  # number and host → trace id
        self._forget: dict[bytes, None] = {}
        self._settled: dict[int, None] = {}
        self._admitted: dict[int, None] = {}
        self._refused: dict[int, None] = {}
        self._done: dict[int, None] = {}
        self._levels: dict[bytes, int] = {}
        self._clears: dict[bytes, None] = {}
        self._ready: list[pb.ToAgent] = []
        self.clears_dropped = 0

    def collect(self, number: int, trace_id: bytes) -> None:
        self._gathers.pop(number, None)
        self._gathers[number] = trace_id
        self.wake()

    def collect_for(self, host_id: int, number: int, trace_id: bytes) -> None:
        """Collect what a host that is gone had of a trace."""
        self._of_others[number, host_id] = trace_id
        self.wake()

    def release(self, number: int) -> None:
        unsent = self._gathers.pop(number, b"")
        if unsent:
            # The agent does not know the number, but may watch the trace under one of another session.
            self._forget[unsent] = None
        else:
            self._gathers[number] = b""
        self.wake()

    def forget(self, trace_id: bytes) -> None:
        """Release a trace that the agent watches under a number of another session."""
        self._forget[trace_id] = None
        self.wake()

    def settle(self, fire_id: int) -> None:
        self._settled[fire_id] = None
        self.wake()

    def admit(self, fire_id: int) -> None:
        self._admitted[fire_id] = None
        self.wake()

    def refuse(self, fire_id: int) -> None:
        self._refused[fire_id] = None
        self.wake()

    def done(self, fire_id: int) -> None:
        self._done[fire_id] = None
        self.wake()

    def set_level(self, trace_id: bytes, level: int) -> None:
        self._levels.pop(trace_id, None)
        self._levels[trace_id] = level
        self.wake()

    def clear(self, trace_ids: Iterable[bytes]) -> None:
        for trace_id in trace_ids:
            if len(self._clears) >= CLEARS_WAITING:
                self.clears_dropped += 1
            else:
                self._clears[trace_id] = None
        self.wake()

    def put(self, message: pb.ToAgent) -> None:
        """Something without a queue of its own: a ping, a question."""
        self._ready.append(message)
        self.wake()

    def drain(self) -> list[pb.ToAgent]:
        """Take what waits, as messages in the order in which they must be sent."""
        messages, self._ready = self._ready, []
        if self._levels:
            changes = [pb.LevelChange(trace_id=t, level=level) for t, level in _take(self._levels)]
            messages.append(pb.ToAgent(levels=pb.Levels(changes=changes)))
        # A gather is collected before its trigger is admitted: the agent then watches it already.
        while wanted := _take(self._gathers):
            collects = [pb.Collect(gather=number, trace_id=t) for number, t in wanted if t]
            if collects:
                admitted = [] if self._gathers else [fire for fire, _ in _take(self._admitted)]
                messages.append(pb.ToAgent(collects=pb.Collects(collects=collects, admitted=admitted)))
            if released := [number for number, t in wanted if not t]:
                messages.append(pb.ToAgent(releases=pb.Releases(gathers=released)))
        while others := _take(self._of_others):
            collects = [pb.Collect(gather=n, trace_id=t, host_id=host_id) for (n, host_id), t in others]
            messages.append(pb.ToAgent(collects=pb.Collects(collects=collects)))
        while self._settled or self._forget:
            fires, ids = [fire for fire, _ in _take(self._settled)], [t for t, _ in _take(self._forget)]
            last = messages[-1] if messages else None
            if last is not None and last.WhichOneof("body") == "releases" and not last.releases.fires:
                last.releases.fires.extend(fires)
                last.releases.trace_ids = b"".join(ids)
            else:
                messages.append(pb.ToAgent(releases=pb.Releases(fires=fires, trace_ids=b"".join(ids))))
        while self._admitted or self._refused or self._done:
            answers = pb.Answers(
                admitted=[fire for fire, _ in _take(self._admitted)],
                refused=[fire for fire, _ in _take(self._refused)],
                done=[fire for fire, _ in _take(self._done)],
            )
            messages.append(pb.ToAgent(answers=answers))
        if self._clears:
            ids = list(islice(self._clears, CLEARS_A_MESSAGE))
            for trace_id in ids:
                del self._clears[trace_id]
            messages.append(pb.ToAgent(clear=pb.Cleared(trace_ids=b"".join(ids))))
        return messages

    def __len__(self) -> int:
        return (
            len(self._gathers)
            + len(self._of_others)
            + len(self._forget)
            + len(self._settled)
            + len(self._admitted)
            + len(self._refused)
            + len(self._done)
            + len(self._levels)
            + len(self._clears)
            + len(self._ready)
        )


def _take(waiting: dict[K, V]) -> list[tuple[K, V]]:
    taken = list(islice(waiting.items(), ENTRIES_A_MESSAGE))
    for key, _ in taken:
        del waiting[key]
    return taken
