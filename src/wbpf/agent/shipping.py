"""The stream to the collector."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

import grpc
import grpc.aio

from wbpf.agent.delivery import Delivery
from wbpf.wire import COLLECTION, Backoff, Meter
from wbpf.wire import gather_pb2 as pb

LOG = logging.getLogger("wbpf.agent")
#: After so many refusals without an acknowledgement the first message is given up.
REFUSALS_MOST = 3

Call = grpc.aio.StreamStreamCall[pb.Delivery, pb.Acknowledged]


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
            why = "the stream ended"
            try:
                await self._stream(backoff)
            except grpc.aio.AioRpcError as error:
                why = error.details() or error.code().name
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
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

    async def _stream(self, backoff: Backoff) -> None:
        call: Call = COLLECTION["Deliver"].stream(self._channel, self._meter)
        tasks: list[asyncio.Task[None]] = []
        try:
            await call.wait_for_connection()
            self._delivery.connected()
            if not self.connected:
                LOG.info("collector is there", extra={"fields": {"address": self._address}})
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

    async def _read(self, call: Call) -> None:
        while True:
            answer = await call.read()
            if not isinstance(answer, pb.Acknowledged):
                code = await call.code()
                details = await call.details()
                raise grpc.aio.AioRpcError(
                    code, await call.initial_metadata(), await call.trailing_metadata(), details
                )
            self._delivery.acknowledge(answer.sequence)
            self._something.set()
            self._acknowledged()

    async def _write(self, call: Call) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            while (message := self._delivery.next_message(time.monotonic())) is not None:
                await call.write(message)
