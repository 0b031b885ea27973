"""Conclusions on their way to the collector: sent, sent again, acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from itertools import islice

import grpc
import grpc.aio

from wbpf.coordinator.coordination import Coordination
from wbpf.records import Conclusion, Status
from wbpf.wire import COLLECTION, Backoff, Meter
from wbpf.wire import gather_pb2 as pb

LOG = logging.getLogger("wbpf.coordinator")
CONCLUSIONS_A_MESSAGE = 256
#: Messages sent and not acknowledged: beyond that the collector is given time.
MESSAGES_OPEN = 16
REFUSALS_MOST = 3

_STATUS = {
    Status.COMPLETE: pb.HOST_STATUS_COMPLETE,
    Status.PARTIAL: pb.HOST_STATUS_PARTIAL,
    Status.UNKNOWN: pb.HOST_STATUS_UNKNOWN,
}


def to_wire(conclusion: Conclusion) -> pb.WireConclusion:
    """The message that says the same."""
    return pb.WireConclusion(
        trace_id=conclusion.trace_id,
        trigger=conclusion.trigger_name,
        value=conclusion.trigger_value,
        trigger_host=conclusion.trigger_host,
        fired_unix_ns=conclusion.fired_unix_ns,
        group_id=conclusion.group_id,
        laterals=b"".join(conclusion.laterals),
        concluded_unix_ns=conclusion.concluded_unix_ns,
        hosts=[
            pb.WireHostPart(
                name=part.name,
                host_id=part.host_id,
                incarnation=part.incarnation,
                status=_STATUS[part.status],
                reasons=part.reasons,
                offset_ns=part.offset_ns,
                uncertainty_ns=part.uncertainty_ns,
                records=part.records,
                bytes=part.bytes,
            )
            for part in conclusion.hosts
        ],
    )


Call = grpc.aio.StreamStreamCall[pb.Conclusions, pb.Acknowledged]


class Storing:
    """The stream of conclusions. Call `wake` when there are new ones in `coordination.to_store`."""

    def __init__(
        self, coordination: Coordination, channel: grpc.aio.Channel, address: str, meter: Meter
    ) -> None:
        self._coordination = coordination
        self._channel = channel
        self._address = address
        self._meter = meter
        self._something = asyncio.Event()
        self._open: deque[list[tuple[int, int]]] = deque()  # a message each: gathers and versions
        self._refusals = 0
        self.connected = False

    def wake(self) -> None:
        self._something.set()

    @property
    def unstored(self) -> int:
        return len(self._coordination.to_store) + sum(len(message) for message in self._open)

    async def run(self) -> None:
        """Keep a stream to the collector, for ever."""
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
            self._send_again()
            await asyncio.sleep(backoff.next_s())

    def _refuse(self, why: str) -> None:
        """The collector refuses what comes first: send it alone, and in the end not at all."""
        self._refusals += 1
        if self._refusals > REFUSALS_MOST and self._open:
            self._refusals = 0
            for number, version in self._open.popleft():
                LOG.error(
                    "the collector refuses a conclusion", extra={"fields": {"gather": number, "why": why}}
                )
                self._coordination.stored(number, version)

    def _send_again(self) -> None:
        """What was not acknowledged is to be stored once more, unless a later version is already."""
        for message in self._open:
            for number, version in message:
                self._coordination.store_again(number, version)
        self._open.clear()

    async def _stream(self, backoff: Backoff) -> None:
        call: Call = COLLECTION["Conclude"].stream(self._channel, self._meter)
        tasks: list[asyncio.Task[None]] = []
        try:
            await call.wait_for_connection()
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
        acknowledged = 0
        while True:
            answer = await call.read()
            if not isinstance(answer, pb.Acknowledged):
                raise grpc.aio.AioRpcError(
                    await call.code(),
                    await call.initial_metadata(),
                    await call.trailing_metadata(),
                    await call.details(),
                )
            while acknowledged < answer.sequence and self._open:
                acknowledged += 1
                self._refusals = 0
                for number, version in self._open.popleft():
                    self._coordination.stored(number, version)
            self._something.set()

    async def _write(self, call: Call) -> None:
        waiting = self._coordination.to_store
        while True:
            await self._something.wait()
            self._something.clear()
            # After a refusal one at a time, to find out which it is.
            while waiting and len(self._open) < (1 if self._refusals else MESSAGES_OPEN):
                taken = list(islice(waiting.items(), 1 if self._refusals else CONCLUSIONS_A_MESSAGE))
                for number, _ in taken:
                    del waiting[number]
                self._open.append([(number, version) for number, (version, _) in taken])
                message = pb.Conclusions(conclusions=[to_wire(conclusion) for _, (_, conclusion) in taken])
                await call.write(message)
