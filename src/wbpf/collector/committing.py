"""Group commit: whatever arrived while the last transaction was written goes into the next one."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from wbpf.collector.intake import Arrived
from wbpf.collector.verdicts import Verdicts
from wbpf.errors import StoreError, WbpfError
from wbpf.records import Conclusion
from wbpf.store import Store
from wbpf.wire import Backoff

LOG = logging.getLogger("wbpf.collector")
#: So much goes into one transaction at most.
COMMIT_BYTES = 8 << 20


class Rejected(WbpfError):
    """The store refuses this message whenever it is tried, so its stream is closed."""


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
        self._waiting: deque[tuple[Arrived, Callable[[WbpfError | None], None]]] = deque()
        self._something = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.waiting_bytes = 0
        self.commits = 0
        self.pieces = 0
        self.fault = ""

    async def put(self, arrived: Arrived, then: Callable[[WbpfError | None], None]) -> None:
        """Bring a message; waits while too much waits already.

        Args:
            arrived: the message.
            then: called when it is committed (None), or with why it can't be.
        """
        while self.waiting_bytes >= self._room_bytes:
            self._room.clear()
            await self._room.wait()
        self.waiting_bytes += arrived.size_bytes
        self._waiting.append((arrived, then))
        self._something.set()

    async def run(self) -> None:
        """Commit, for ever."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(0.1, 2.0)
        while True:
            await self._something.wait()
            self._something.clear()
            while self._waiting:
                batch, size = [], 0
                while self._waiting and size < COMMIT_BYTES:
                    item = self._waiting.popleft()
                    batch.append(item)
                    size += item[0].size_bytes
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
                self.waiting_bytes -= size
                self._room.set()

    async def _wait_for_store(self, error: StoreError, backoff: Backoff) -> None:
        if not self.fault:
            LOG.error("nothing can be stored", extra={"fields": {"why": str(error)}})
        self.fault = f"{error.what}: {error.why}"
        await asyncio.sleep(backoff.next_s())

    async def _alone(self, item: tuple[Arrived, Callable[[WbpfError | None], None]]) -> None:
        """Find the message that the store refuses."""
        arrived, then = item
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, [arrived])
        except StoreError as error:
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
