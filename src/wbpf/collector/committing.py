"""Group commit: whatever arrived while the last transaction was written goes into the next one."""

from __future__ import annotations

import asyncio
import heapq
import logging
import sqlite3
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from wbpf.collector.intake import Arrived, Deliverer
from wbpf.collector.verdicts import Verdicts
from wbpf.errors import StoreError, WbpfError
from wbpf.records import Conclusion
from wbpf.store import Store
from wbpf.wire import Backoff

LOG = logging.getLogger("wbpf.collector")
#: So much goes into one transaction at most.
COMMIT_BYTES = 8 << 20
#: So many conclusions may wait for pieces, and of so many agents it is known how far they are.
HELD_MOST = 16_384
#: Pieces wait so long for a conclusion, to be committed together with it; not if there are so many of them.
COMPANY_S = 0.005
COMPANY_BYTES = 256 << 10
DELIVERERS_MOST = 16_384


class Rejected(WbpfError):
    """The store refuses this message whenever it is tried, so its stream is closed."""


Then = Callable[[WbpfError | None], None]
Item = tuple[Arrived, Then]


class _Held(NamedTuple):
    """What needs pieces that are not there yet."""

    item: Item
    missing: dict[Deliverer, int]


class Committing:
    """The way into the store.

    Args:
        store: opened for writing; used on one thread of its own.
        waiting_bytes: how much may wait; whoever brings more has to wait itself.
    """

    def __init__(self, store: Store, waiting_bytes: int) -> None:
        self._store = store
        self._verdicts = Verdicts(store)
        self._room_bytes = waiting_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: deque[Item] = deque()
        self._held: dict[int, _Held] = {}
        self._holding: dict[Deliverer, list[tuple[int, int]]] = {}  # heaps: number of a piece, and of a hold
        self._holds = 0
        self._reached: OrderedDict[Deliverer, int] = OrderedDict()  # number of the last piece
        self._something = asyncio.Event()
        self._hurry = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.waiting_bytes = 0
        self.commits = 0
        self.pieces = 0
        self.fault = ""

    async def has_room(self) -> None:
        """Wait while too much waits already."""
        while self.waiting_bytes >= self._room_bytes:
            self._room.clear()
            await self._room.wait()

    async def put(self, arrived: Arrived, then: Then) -> None:
        """Bring a message; waits while too much waits already.

        Args:
            arrived: the message.
            then: called when it is committed (None), or with why it can't be.
        """
        await self.has_room()
        self._enqueue((arrived, then))

    def _enqueue(self, item: Item) -> None:
        self.waiting_bytes += item[0].size_bytes
        self._waiting.append(item)
        self._something.set()
        if self.waiting_bytes >= COMPANY_BYTES:
            self._hurry.set()

    def hold(self, arrived: Arrived, then: Then) -> int:
        """Bring a message that is committed after what it needs, in the same transaction at the earliest.

        Returns:
            A number, for `let_go`.

        Raises:
            Rejected: too much is held already.
        """
        if len(self._held) >= HELD_MOST:
            raise Rejected("no more conclusions can wait", f"{HELD_MOST} wait for pieces")
        self._holds += 1
        self._hurry.set()
        missing = {who: upto for who, upto in arrived.needs.items() if self._reached.get(who, 0) < upto}
        if not missing:
            self._enqueue((arrived, then))
            return self._holds
        self._held[self._holds] = _Held((arrived, then), missing)
        for who, upto in missing.items():
            heapq.heappush(self._holding.setdefault(who, []), (upto, self._holds))
        return self._holds

    def let_go(self, holds: Iterable[int]) -> None:
        """Forget these, if they are still held: who brought them brings something newer, or is gone."""
        affected: set[Deliverer] = set()
        for number in list(holds):
            if (held := self._held.pop(number, None)) is not None:
                affected.update(held.missing)
        for who in affected:
            left = [(upto, number) for upto, number in self._holding.pop(who) if number in self._held]
            if left:
                heapq.heapify(left)
                self._holding[who] = left

    async def run(self) -> None:
        """Commit, for ever."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(0.1, 2.0)
        while True:
            await self._something.wait()
            timer = loop.call_later(COMPANY_S, self._hurry.set)
            await self._hurry.wait()
            timer.cancel()
            batch = self._next_batch()
            if not self._held:
                self._hurry.clear()
            try:
                await loop.run_in_executor(self._thread, self._commit, [item[0] for item in batch])
            except StoreError as error:
                if not _comes_from_data(error):
                    self._waiting.extendleft(reversed(batch))
                    await self._wait_for_store(error, backoff)
                    continue
                for item in batch:
                    await self._alone(item)
            else:
                for _, then in batch:
                    then(None)
            if self.fault:
                LOG.warning("the store takes traces again")
                self.fault = ""
            backoff.reset()
            self.commits += 1
            self.waiting_bytes -= sum(item[0].size_bytes for item in batch)
            self._room.set()
            if not self._waiting:
                self._something.clear()

    def _next_batch(self) -> list[Item]:
        """What waits, and what was held until that came."""
        batch: list[Item] = []
        size = 0
        while self._waiting and size < COMMIT_BYTES:
            item = self._waiting.popleft()
            batch.append(item)
            size += item[0].size_bytes
            if item[0].deliverer is not None:
                batch.extend(self._reach(item[0].deliverer, item[0].upto))
        return batch

    def _reach(self, who: Deliverer, upto: int) -> Iterator[Item]:
        """Pieces up to this number are in the batch that is made; returns what needed nothing else."""
        self._reached[who] = max(upto, self._reached.pop(who, 0))
        if len(self._reached) > DELIVERERS_MOST:
            self._reached.popitem(last=False)
        holding = self._holding.get(who)
        while holding and holding[0][0] <= upto:
            _, number = heapq.heappop(holding)
            held = self._held.get(number)
            if held is not None:
                del held.missing[who]
                if not held.missing:
                    del self._held[number]
                    self.waiting_bytes += held.item[0].size_bytes
                    yield held.item
        if holding is not None and not holding:
            del self._holding[who]

    async def _wait_for_store(self, error: StoreError, backoff: Backoff) -> None:
        if not self.fault:
            LOG.error("nothing can be stored", extra={"fields": {"why": str(error)}})
        self.fault = f"{error.what}: {error.why}"
        await asyncio.sleep(backoff.next_s())

    async def _alone(self, item: Item) -> None:
        """Find the message that the store refuses."""
        arrived, then = item
        if any(self._reached.get(who, 0) < upto for who, upto in arrived.needs.items()):
            then(Rejected("a conclusion is not true", "pieces that it needs were refused"))
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, [arrived])
        except StoreError as error:
            if arrived.deliverer is not None:
                self._reached.pop(arrived.deliverer, None)
            then(Rejected(error.what, error.why, error.hint))
        else:
            then(None)

    def _commit(self, batch: list[Arrived]) -> None:
        """On the store's thread."""
        concluded: list[Conclusion] = []
        pieces = 0
        with self._store.batch():
            for arrived in batch:
                if arrived.host is not None:
                    self._store.put_host(arrived.host)
                for other in arrived.others:
                    self._store.put_host(other)
                for news in arrived.news:
                    segment_id = news.segment.segment_id
                    self._store.put_segment(news.segment)
                    if news.schemas:
                        self._store.put_schemas(segment_id, news.schemas)
                    if news.calibrations:
                        self._store.put_calibrations(segment_id, news.calibrations)
                    for process in news.processes:
                        self._store.put_process(segment_id, process.process, process.pid, process.name)
            if all_pieces := [piece for arrived in batch for piece in arrived.pieces]:
                pieces = len(all_pieces)
                self._store.put_pieces(all_pieces)
            for conclusion in (item for arrived in batch for item in arrived.conclusions):
                chosen = self._verdicts.choose(conclusion)
                if chosen is not None:
                    self._store.conclude(chosen)
                    concluded.append(chosen)
        self.pieces += pieces
        for conclusion in concluded:
            self._verdicts.note(conclusion)

    async def retain(self, max_bytes: int, max_age_s: float) -> int:
        """Delete what is too old or too much, between two transactions."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._store.retain, max_bytes, max_age_s)

    async def stats(self) -> tuple[int, int]:
        """Bytes and traces of the store."""

        def read() -> tuple[int, int]:
            stats = self._store.stats()
            return stats.file_bytes, sum(stats.traces.values())

        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    def close(self) -> None:
        """Wait for what is being written, then close the store."""
        self._thread.shutdown()
        with suppress(WbpfError):
            self._store.close()


def _comes_from_data(error: StoreError) -> bool:
    """Would the store refuse the same data again, however often it is tried?"""
    cause = error.__cause__
    return isinstance(
        cause, OverflowError | sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError
    ) or (isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_TOOBIG)
