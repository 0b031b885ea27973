"""Where the time of a gathering went: its critical path, walked back through who woke whom.

From the moment at which the store had the trace back to the trigger: the thread that was last to do
something ran, waited for a core, or slept until another woke it; then it is that one's turn. What is on this
path is what the gathering took; what others did at the same time is not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from operator import attrgetter, itemgetter
from typing import NamedTuple

from bench.recorder.scheduler import Event, Kind

RUNS, WAITS, SLEEPS = "runs", "waits for a core", "sleeps"
_RAN, _WOKEN, _LEFT = range(3)


class Step(NamedTuple):
    """One piece of a path: a process did that, from when to when, by the monotonic clock."""

    process: int
    state: str
    from_ns: int
    to_ns: int


class Threads:
    """What threads did, and when.

    Args:
        events: of the scheduler, in order of time.
        processes: whose threads can be followed.
    """

    def __init__(self, events: Iterable[Event], processes: Iterable[int]) -> None:
        self._ours = frozenset(processes)
        self._process: dict[int, int] = {}
        self._changes: dict[int, list[tuple[int, int, Event]]] = defaultdict(list)
        self._flushes: dict[int, list[Event]] = defaultdict(list)
        for event in events:
            if event.kind == Kind.FLUSHED:
                self._flushes[event.process].append(event)
            elif event.kind == Kind.WAKING:
                self._note(event, event.thread, event.process, _WOKEN)
            else:
                self._note(event, event.thread, event.process, _LEFT)
                self._note(event, event.other_thread, event.other_process, _RAN)

    def _note(self, event: Event, thread: int, process: int, what: int) -> None:
        if process in self._ours:
            self._process[thread] = process
            self._changes[thread].append((event.mono_ns, what, event))

    def last_flush(self, process: int, before_ns: int) -> Event:
        """The last time before that when it flushed a file."""
        flushes = self._flushes[process]
        return flushes[bisect_right(flushes, before_ns, key=attrgetter("mono_ns")) - 1]

    def path(self, thread: int, until_ns: int, since_ns: int) -> Iterator[Step]:
        """The critical path that ends with this thread at that time, last step first."""
        while until_ns > since_ns:
            from_ns, state, waker = self._before(thread, until_ns)
            from_ns = max(from_ns, since_ns)
            yield Step(self._process[thread], state, from_ns, until_ns)
            until_ns, thread = from_ns, waker

    def _before(self, thread: int, until_ns: int) -> tuple[int, str, int]:
        """What the thread did right before that time, since when, and who is to be followed from there."""
        changes = self._changes[thread]
        at = bisect_left(changes, until_ns, key=itemgetter(0))
        while at:
            at -= 1
            when, what, event = changes[at]
            if what == _RAN:
                return when, RUNS, thread
            if what == _LEFT:
                return when, WAITS if event.runnable else SLEEPS, thread
            if not at or changes[at - 1][1] != _RAN:  # else it was woken before it got to sleep
                known = event.other_thread in self._process
                return when, WAITS, event.other_thread if known else thread
        return 0, RUNS, thread
