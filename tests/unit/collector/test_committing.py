from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wbpf.collector.committing import Committing, Rejected
from wbpf.collector.intake import Arrived, SegmentNews
from wbpf.errors import StoreError, WbpfError
from wbpf.records import Conclusion, HostInfo, HostPart, Piece, SegmentInfo, Status
from wbpf.store import Store

TRACE = b"t" * 16
HOST = HostInfo(1, 2, "a")
A, B = (1, 7), (1, 8)
SEGMENT = SegmentInfo(9, 1, 2, "svc", 10**9, 3)


class FaultyStore(Store):
    """A real store that can be told to fail."""

    fault: Exception | None = None
    batches = 0

    @contextmanager
    def batch(self) -> Iterator[None]:
        self.batches += 1
        if self.fault is not None:
            raise StoreError("the store can't be written", "as the test wants it") from self.fault
        with super().batch():
            yield


def arrived(unit: int = 0, size: int = 100) -> Arrived:
    piece = Piece(TRACE, 9, 0, 1, unit, 5, 6, True, bytes(8))
    return Arrived(size, HOST, [SegmentNews(SEGMENT)], [piece])


def run(path: Path, work: Any, waiting_bytes: int = 1 << 20) -> None:
    async def main() -> None:
        store = FaultyStore.open(path / "traces.db")
        committing = Committing(store, waiting_bytes)
        task = asyncio.ensure_future(committing.run())
        try:
            await asyncio.wait_for(work(committing, store), 20)
        finally:
            task.cancel()
            committing.close()

    asyncio.run(main())


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_what_waits_shares_a_transaction(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        done: list[WbpfError | None] = []
        for unit in range(50):
            await committing.put(arrived(unit), done.append)
        await until(lambda: len(done) == 50)
        assert done == [None] * 50
        assert committing.commits < 10
        assert store.stats().pieces == 50 and committing.waiting_bytes == 0

    run(tmp_path, work)


def test_conclusions_and_pieces_are_stored(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        done: list[WbpfError | None] = []
        part = HostPart("a", 1, 2, Status.COMPLETE, records=1)
        conclusion = Conclusion(TRACE, "slow", 1.0, "a", 5, b"", [], [part], 6)
        await committing.put(arrived(), done.append)
        await committing.put(Arrived(10, conclusions=[conclusion]), done.append)
        await until(lambda: len(done) == 2)
        (summary,) = store.traces()
        assert (summary.trace_id, summary.status, summary.trigger_name) == (TRACE, Status.COMPLETE, "slow")

    run(tmp_path, work)


def test_a_full_disk_loses_nothing_and_is_said(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        done: list[WbpfError | None] = []
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        store.fault = full
        for unit in range(5):
            await committing.put(arrived(unit), done.append)
        await until(lambda: committing.fault)
        await asyncio.sleep(0.5)
        assert done == []
        assert 1 < store.batches < 10, "it tries again, but not all the time"
        store.fault = None
        await until(lambda: len(done) == 5)
        assert store.stats().pieces == 5 and committing.fault == ""

    run(tmp_path, work)


def test_who_brings_too_much_waits(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        store.fault = sqlite3.OperationalError("locked")
        done: list[WbpfError | None] = []

        async def bring() -> None:
            for unit in range(100):
                await committing.put(arrived(unit, 100), done.append)

        task = asyncio.ensure_future(bring())
        await until(lambda: committing.waiting_bytes >= 1000)
        await asyncio.sleep(0.1)
        assert committing.waiting_bytes == 1000 and not task.done()
        store.fault = None
        await task
        await until(lambda: len(done) == 100)

    run(tmp_path, work, waiting_bytes=1000)


def test_what_can_never_be_stored_is_singled_out(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        done: list[tuple[int, WbpfError | None]] = []
        put = store.put_pieces

        def put_but_one(pieces: Any) -> None:
            pieces = list(pieces)
            if any(piece.start_unit == 3 for piece in pieces):
                raise StoreError("can't be written", "a number is out of range") from OverflowError(
                    "too large"
                )
            put(pieces)

        store.put_pieces = put_but_one  # type: ignore[method-assign]
        for unit in range(6):
            await committing.put(arrived(unit), lambda error, unit=unit: done.append((unit, error)))
        await until(lambda: len(done) == 6)
        assert [unit for unit, error in done if error is not None] == [3]
        assert isinstance(dict(done)[3], Rejected)
        assert store.stats().pieces == 5 and committing.fault == ""

    run(tmp_path, work)


def test_pieces_go_with_the_conclusion_that_follows_them(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        done: list[WbpfError | None] = []
        pieces = arrived()
        pieces.deliverer, pieces.upto = A, 1
        await committing.put(pieces, done.append)
        await asyncio.sleep(0)
        committing.hold(Arrived(0, conclusions=[conclusion()], needs={A: 1}), done.append)
        await until(lambda: len(done) == 2)
        assert (done, committing.commits) == ([None, None], 1)
        await committing.put(arrived(1), done.append)
        await until(lambda: len(done) == 3)
        assert committing.commits == 2, "without one they do not wait for ever"

    run(tmp_path, work)


def conclusion() -> Conclusion:
    part = HostPart("a", 1, 2, Status.COMPLETE, records=1)
    return Conclusion(TRACE, "slow", 1.0, "a", 5, b"", [], [part], 6)


def test_a_conclusion_waits_for_what_it_speaks_of(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        done: list[str] = []

        def then(name: str) -> Any:
            return lambda error: done.append(f"{name}: {error}")

        needy = Arrived(0, conclusions=[conclusion()], needs={A: 10, B: 1})
        committing.hold(needy, then("conclusion"))
        first, second, third = arrived(0), arrived(1), arrived(2)
        first.deliverer, first.upto = A, 9
        second.deliverer, second.upto = B, 3
        third.deliverer, third.upto = A, 12
        for name, item in (("first", first), ("second", second)):
            await committing.put(item, then(name))
        await until(lambda: len(done) == 2)
        await asyncio.sleep(0.05)
        assert done == ["first: None", "second: None"]
        before = committing.commits
        await committing.put(third, then("third"))
        await until(lambda: len(done) == 4)
        assert done[2:] == ["third: None", "conclusion: None"]
        assert committing.commits == before + 1, "both in one transaction"
        (summary,) = store.traces()
        assert summary.trigger_name == "slow" and committing.waiting_bytes == 0
        committing.hold(Arrived(0, conclusions=[conclusion()], needs={A: 12}), then("again"))
        await until(lambda: len(done) == 5)

    run(tmp_path, work)


def test_who_is_gone_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wbpf.collector.committing.HELD_MOST", 3)

    async def work(committing: Committing, store: FaultyStore) -> None:
        needy = Arrived(0, conclusions=[conclusion()], needs={A: 10})
        holds = [committing.hold(needy, lambda error: None) for _ in range(3)]
        with pytest.raises(Rejected):
            committing.hold(needy, lambda error: None)
        committing.let_go(holds)
        assert not committing._held and not committing._holding
        late = arrived()
        late.deliverer, late.upto = A, 10
        done: list[WbpfError | None] = []
        await committing.put(late, done.append)
        await until(lambda: done)
        assert [s.concluded_unix_ns for s in store.traces()] == [0]

    run(tmp_path, work)


def test_no_conclusion_is_stored_without_its_pieces(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        put = store.put_pieces

        def refuse(pieces: Any) -> None:
            raise StoreError("can't be written", "a number is out of range") from OverflowError("too large")

        store.put_pieces = refuse  # type: ignore[method-assign]
        told: list[WbpfError | None] = []
        committing.hold(Arrived(100, conclusions=[conclusion()], needs={A: 10}), told.append)
        piece = arrived()
        piece.deliverer, piece.upto = A, 10
        await committing.put(piece, told.append)
        await until(lambda: len(told) == 2)
        assert all(isinstance(error, Rejected) for error in told) and not list(store.traces())
        store.put_pieces = put  # type: ignore[method-assign]
        committing.hold(Arrived(100, conclusions=[conclusion()], needs={A: 10}), told.append)
        await asyncio.sleep(0.05)
        assert len(told) == 2, "it waits for them again"
        await committing.put(piece, told.append)
        await until(lambda: len(told) == 4)
        assert told[2:] == [None, None] and committing.waiting_bytes == 0

    run(tmp_path, work)


def test_what_is_let_go_takes_nothing_along(tmp_path: Path) -> None:
    async def work(committing: Committing, store: FaultyStore) -> None:
        done: list[str] = []
        first = committing.hold(
            Arrived(1, conclusions=[conclusion()], needs={A: 5, B: 5}), lambda e: done.append("1")
        )
        committing.hold(Arrived(1, conclusions=[conclusion()], needs={A: 4}), lambda e: done.append("2"))
        committing.let_go([first])
        assert list(committing._holding) == [A]
        piece = arrived()
        piece.deliverer, piece.upto = A, 9
        await committing.put(piece, lambda e: done.append("piece"))
        await until(lambda: len(done) == 2)
        assert done == ["piece", "2"] and not committing._holding and committing.waiting_bytes == 0

    run(tmp_path, work)
