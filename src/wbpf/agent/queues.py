"""Triggers that wait for the coordinator: a queue for each name, limited in rate.

They are served in turn: the coordinator, which knows all hosts, is who counts weights. If the heavier were
told sooner, they would be refused sooner too, and leave it with the lighter alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from wbpf.agent.spec import TriggerLimit
from wbpf.wire import status_pb2 as st

#: Names with a queue of their own; triggers with further names share one.
NAMES_MOST = 512
OTHERS = "(others)"


@dataclass(slots=True, eq=False)
class Fire:
    """A trigger that fired here.

    Args:
        fire_id: the same whenever it is read from its slot again.
        free: frees its slot in the segment; None once that is done.
        admitted: a coordinator has taken charge of it.
    """

    fire_id: int
    trigger: str
    trace_id: bytes
    start_unix_ns: int
    fired_unix_ns: int
    value: float
    laterals: bytes
    weight: float
    free: Callable[[], None] | None
    queue: TriggerQueue = field(repr=False)
    admitted: bool = False

    def release_slot(self) -> None:
        """Free the slot, once: another trigger may be in it right afterwards."""
        if self.free is not None:
            free, self.free = self.free, None
            free()


class TokenBucket:
    """So many a second in the long run, and a few at once.

    Args:
        rate: tokens a second; 0: no limit.
        burst: tokens it holds at most.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at_s = 0.0

    def take(self, now_s: float) -> bool:
        """Take a token if there is one."""
        if not self._rate:
            return True
        self._tokens = min(self._tokens + max(now_s - self._at_s, 0.0) * self._rate, self._burst)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(slots=True, eq=False)
class TriggerQueue:
    """The triggers of one name.

    Args:
        open: taken from the queue, and not yet settled.
    """

    name: str
    limit: TriggerLimit
    bucket: TokenBucket
    waiting: deque[Fire] = field(default_factory=deque)
    open: int = 0
    fired: int = 0
    admitted: int = 0
    limited: int = 0
    overflowed: int = 0
    refused: int = 0

    def status(self) -> st.QueueStatus:
        """Its counters."""
        return st.QueueStatus(
            trigger=self.name,
            weight=self.limit.weight,
            rate_per_s=self.limit.rate,
            queued=len(self.waiting),
            open=self.open,
            fired=self.fired,
            admitted=self.admitted,
            limited=self.limited,
            overflowed=self.overflowed,
            refused=self.refused,
        )


class TriggerQueues:
    """All queues of an agent.

    Args:
        limit: the limits of a name.
        most: how many of one name may wait.
    """

    def __init__(self, limit: Callable[[str], TriggerLimit], most: int) -> None:
        self._limit = limit
        self._most = most
        self._ready: deque[TriggerQueue] = deque()
        self.queues: dict[str, TriggerQueue] = {}

    def queue(self, name: str) -> TriggerQueue:
        found = self.queues.get(name)
        if found is None:
            name = name if len(self.queues) < NAMES_MOST else OTHERS
            limit = self._limit(name)
            found = self.queues.setdefault(
                name, TriggerQueue(name, limit, TokenBucket(limit.rate, limit.burst))
            )
        return found

    def offer(self, fire: Fire, now_s: float, again: bool = False) -> bool:
        """Put a trigger into its queue; False if it is refused.

        Args:
            fire: the trigger; `fire.queue` is its queue.
            now_s: monotonic.
            again: it was in a queue before this agent was started: no limit counts.
        """
        queue = fire.queue
        queue.fired += 1
        if not again:
            if len(queue.waiting) >= self._most:
                queue.overflowed += 1
                return False
            if not queue.bucket.take(now_s):
                queue.limited += 1
                return False
        queue.waiting.append(fire)
        if len(queue.waiting) == 1:
            self._ready.append(queue)
        return True

    def take(self) -> Fire | None:
        """The next trigger; None if none waits."""
        if not self._ready:
            return None
        queue = self._ready.popleft()
        fire = queue.waiting.popleft()
        queue.open += 1
        if queue.waiting:
            self._ready.append(queue)
        return fire

    def put_back(self, fire: Fire) -> None:
        """The coordinator never answered: it comes first in its queue again."""
        queue = fire.queue
        queue.open -= 1
        queue.waiting.appendleft(fire)
        if len(queue.waiting) == 1:
            self._ready.append(queue)

    def __len__(self) -> int:
        return sum(len(queue.waiting) for queue in self.queues.values())
