"""The stream to the coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

import grpc
import grpc.aio

from wbpf.wire import COORDINATION, Backoff, Meter
from wbpf.wire import gather_pb2 as pb

LOG = logging.getLogger("wbpf.agent")

Call = grpc.aio.StreamStreamCall[pb.FromAgent, pb.ToAgent]


class Ends(Protocol):
    """What the link carries messages between."""

    def hello(self) -> pb.Hello:
        """The first message of a stream."""

    def welcomed(self, welcome: pb.Welcome) -> None:
        """A coordinator is there."""

    def handle(self, message: pb.ToAgent) -> None:
        """A message came."""

    def messages(self) -> Iterator[pb.FromAgent]:
        """What waits to be sent, made when it is sent."""


class Link:
    """Keeps a stream to the coordinator while the agent runs.

    Args:
        ends: makes and takes messages.
        channel: to the coordinator at `address`.
        unix_ns: the host's clock.
    """

    def __init__(
        self, ends: Ends, channel: grpc.aio.Channel, address: str, meter: Meter, unix_ns: Callable[[], int]
    ) -> None:
        self._ends = ends
        self._channel = channel
        self._address = address
        self._meter = meter
        self._unix_ns = unix_ns
        self._something = asyncio.Event()
        self._pings: list[pb.Pong] = []
        self.connected = False

    def wake(self) -> None:
        """There is something to send."""
        self._something.set()

    async def run(self) -> None:
        """Stream, for ever."""
        backoff = Backoff()
        complained = ""
        while True:
            why = "the stream ended"
            try:
                await self._stream(backoff)
            except grpc.aio.AioRpcError as error:
                why = error.details() or error.code().name
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    backoff.first_s = (
                        backoff.ceiling_s / 4
                    )  # refused as who we are: no hurry to hear it again
            if self.connected or why != complained:
                LOG.warning("coordinator is away", extra={"fields": {"address": self._address, "why": why}})
                complained = why
            self.connected = False
            await asyncio.sleep(backoff.next_s())

    async def _stream(self, backoff: Backoff) -> None:
        call: Call = COORDINATION["Attend"].stream(self._channel, self._meter)
        tasks: list[asyncio.Task[None]] = []
        try:
            await call.wait_for_connection()
            await call.write(pb.FromAgent(hello=self._ends.hello()))
            first = await self._next(call)
            if first.WhichOneof("body") != "welcome":
                raise ConnectionError("the coordinator did not say welcome")
            self._pings.clear()
            self._ends.welcomed(first.welcome)
            LOG.info("coordinator is there", extra={"fields": {"address": self._address}})
            self.connected = True
            backoff.reset()
            self._something.set()
            tasks = [asyncio.ensure_future(self._read(call)), asyncio.ensure_future(self._write(call))]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                    await task

    @staticmethod
    async def _next(call: Call) -> pb.ToAgent:
        message = await call.read()
        if not isinstance(message, pb.ToAgent):
            raise grpc.aio.AioRpcError(
                await call.code(),
                await call.initial_metadata(),
                await call.trailing_metadata(),
                await call.details(),
            )
        return message

    async def _read(self, call: Call) -> None:
        while True:
            message = await self._next(call)
            if message.WhichOneof("body") == "ping":
                pong = pb.Pong(t0_unix_ns=message.ping.t0_unix_ns, t1_unix_ns=self._unix_ns())
                self._pings.append(pong)
                self._something.set()
            else:
                self._ends.handle(message)

    async def _write(self, call: Call) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while self._pings:
                pong = self._pings.pop()
                pong.t2_unix_ns = self._unix_ns()
                await call.write(pb.FromAgent(pong=pong))
            for message in self._ends.messages():
                await call.write(message)
