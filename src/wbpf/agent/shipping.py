"""The stream to the collector."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import NoReturn

import grpc
import grpc.aio

from wbpf.agent.delivery import Delivery
from wbpf.wire import COLLECTION, Backoff, Meter, Stream, StreamEnded
from wbpf.wire import gather_pb2 as pb

LOG = logging.getLogger("wbpf.agent")
#: After so many refusals without an acknowledgement the first message is given up.
REFUSALS_MOST = 3


class Shipping:
    """Keeps a stream to the collector while the agent runs.

    Args:
        delivery: what to send.
        channel: to the collector at `address`.
        acknowledged: called when something was.
    """

    def __init__(
        self,
        delivery: Delivery,
        channel: grpc.aio.Channel,
        address: str,
        meter: Meter,
        acknowledged: Callable[[], None],
    ) -> None:
        self._delivery = delivery
        self._channel = channel
        self._address = address
        self._meter = meter
        self._acknowledged = acknowledged
        self._something = asyncio.Event()
        self._refusals = 0
        self.connected = False

    def wake(self) -> None:
        """There is something to send."""
        self._something.set()

    async def run(self) -> None:
        """Stream, for ever."""
        backoff = Backoff()
        while True:
            try:
                await self._stream(backoff)
            except StreamEnded as ended:
                why = ended.details
                if ended.code is grpc.StatusCode.INVALID_ARGUMENT:
                    self._refuse(why)
            if self.connected or backoff.tries == 0:
                LOG.warning("collector is away", extra={"fields": {"address": self._address, "why": why}})
            self.connected = False
            await asyncio.sleep(backoff.next_s())

    def _refuse(self, why: str) -> None:
        if self._delivery.acknowledged:
            self._refusals = 0
        self._refusals += 1
        if self._refusals >= REFUSALS_MOST:
            self._refusals = 0
            count = self._delivery.give_up_first(f"the collector refused records: {why}")
            LOG.error("the collector refuses a delivery", extra={"fields": {"pieces": count, "why": why}})
            self._acknowledged()

    async def _stream(self, backoff: Backoff) -> NoReturn:
        stream = COLLECTION["Deliver"].stream(self._channel, self._meter)
        try:
            await stream.connect()
            self._delivery.connected()
            if not self.connected:
                LOG.info("collector is there", extra={"fields": {"address": self._address}})
            self.connected = True
            backoff.reset()
            self._something.set()
            await stream.run(self._read(stream), self._write(stream))
            raise AssertionError("both go on until the stream ends")
        finally:
            stream.cancel()

    async def _read(self, stream: Stream) -> None:
        while True:
            answer: pb.Acknowledged = await stream.read()
            self._delivery.acknowledge(answer.sequence)
            self._something.set()
            self._acknowledged()

    async def _write(self, stream: Stream) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while (message := self._delivery.next_message(time.monotonic())) is not None:
                await stream.write(message)
