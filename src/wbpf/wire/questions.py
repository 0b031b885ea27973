"""Questions that are put into streams, and the answers that come back there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any


class Questions:
    """Open questions, by number and who was asked."""

    def __init__(self) -> None:
        self._next = 1
        self._open: dict[tuple[int, int], asyncio.Future[Any]] = {}

    async def ask(
        self, asked: Iterable[tuple[int, Callable[[int], None]]], within_s: float
    ) -> dict[int, Any]:
        """Ask several at once.

        Args:
            asked: ids of who is asked, and how: a function of the question's number.
            within_s: how long to wait, seconds.

        Returns:
            The answers that came in time, by who gave them.
        """
        number, self._next = self._next, self._next % 0xFFFF_FFFF + 1
        loop = asyncio.get_running_loop()
        futures: dict[int, asyncio.Future[Any]] = {}
        for who, put in asked:
            futures[who] = self._open[number, who] = loop.create_future()
            put(number)
        try:
            if futures:
                await asyncio.wait(futures.values(), timeout=within_s)
        finally:
            for who in futures:
                self._open.pop((number, who), None)
        return {who: future.result() for who, future in futures.items() if future.done()}

    def answer(self, who: int, number: int, answer: Any) -> None:
        """An answer came; nobody may wait for it any more."""
        future = self._open.get((number, who))
        if future is not None and not future.done():
            future.set_result(answer)
