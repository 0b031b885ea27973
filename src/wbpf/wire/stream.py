"""A client's end of a bidirectional stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio


class StreamEnded(Exception):
    """The stream is over; what was written last may not have arrived."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details or code.name)
        self.code = code
        self.details = details or code.name


class Stream:
    """One stream. Every method but `cancel` raises StreamEnded when it is over."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        self._call = call

    async def connect(self) -> None:
        """Wait until the peer is reached."""
        try:
            await self._call.wait_for_connection()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._ended() from None

    async def read(self) -> Any:
        """The next message."""
        try:
            message = await self._call.read()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._ended() from None
        if message is grpc.aio.EOF:
            raise await self._ended()
        return message

    async def write(self, message: Any) -> None:
        """Send a message; waits while the peer does not keep up."""
        try:
            await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise await self._ended() from None

    async def _ended(self) -> StreamEnded:
        return StreamEnded(await self._call.code(), await self._call.details() or "")

    async def run(self, *work: Coroutine[Any, Any, None]) -> None:
        """Read and write at the same time until one of them fails; raises what it failed with."""
        tasks = [asyncio.ensure_future(part) for part in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [result for result in results if isinstance(result, Exception)]
        # A stream that ends is what becomes of it when one side stops for another reason.
        for error in sorted(errors, key=lambda error: isinstance(error, StreamEnded)):
            raise error

    def cancel(self) -> None:
        """End it."""
        with contextlib.suppress(asyncio.InvalidStateError):
            self._call.cancel()
