"""The stream to the coordinator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

import grpc
import grpc.aio

from wbpf.errors import WbpfError
from wbpf.wire import COORDINATION, Backoff, Meter, Stream, StreamEnded
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed

LOG = logging.getLogger("wbpf.agent")


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
            try:
                await self._stream(backoff)
            except StreamEnded as ended:
                why = ended.details
                if ended.code is grpc.StatusCode.FAILED_PRECONDITION:
                    # Refused for who we are: no hurry to hear it again.
                    backoff.first_s = backoff.ceiling_s / 4
            except WbpfError as error:
                why = str(error)
            if self.connected or why != complained:
                LOG.warning("coordinator is away", extra={"fields": {"address": self._address, "why": why}})
                complained = why
            self.connected = False
            await asyncio.sleep(backoff.next_s())

    async def _stream(self, backoff: Backoff) -> NoReturn:
        stream = COORDINATION["Attend"].stream(self._channel, self._meter)
        try:
            await stream.connect()
            await stream.write(pb.FromAgent(hello=self._ends.hello()))
            first: pb.ToAgent = await stream.read()
            if first.WhichOneof("body") != "welcome":
                raise Malformed("the coordinator did not say welcome")
            self._pings.clear()
            self._ends.welcomed(first.welcome)
            LOG.info("coordinator is there", extra={"fields": {"address": self._address}})
            self.connected = True
            backoff.reset()
            self._something.set()
            await stream.run(self._read(stream), self._write(stream))
            raise AssertionError("both go on until the stream ends")
        finally:
            stream.cancel()

    async def _read(self, stream: Stream) -> None:
        while True:
            message: pb.ToAgent = await stream.read()
            if message.WhichOneof("body") == "ping":
                pong = pb.Pong(t0_unix_ns=message.ping.t0_unix_ns, t1_unix_ns=self._unix_ns())
                self._pings.append(pong)
                self._something.set()
            else:
                self._ends.handle(message)

    async def _write(self, stream: Stream) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while self._pings:
                pong = self._pings.pop()
                pong.t2_unix_ns = self._unix_ns()
                await stream.write(pb.FromAgent(pong=pong))
            for message in self._ends.messages():
                await stream.write(message)
