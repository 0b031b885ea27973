"""Conclusions on their way to the collector: sent, sent again, acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import NoReturn

import grpc
import grpc.aio

from wbpf.coordinator.coordination import Coordination
from wbpf.records import Conclusion, Status
from wbpf.wire import COLLECTION, Backoff, Meter, Stream, StreamEnded
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
            try:
                await self._stream(backoff)
            except StreamEnded as ended:
                why = ended.details
                if ended.code is grpc.StatusCode.INVALID_ARGUMENT:
                    self._refuse(why)
            if self.connected or backoff.tries == 0:
                LOG.warning("collector is away", extra={"fields": {"address": self._address, "why": why}})
            self.connected, self._coordination.collector_away = False, True
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

    async def _stream(self, backoff: Backoff) -> NoReturn:
        stream = COLLECTION["Conclude"].stream(self._channel, self._meter)
        try:
            await stream.connect()
            if not self.connected:
                LOG.info("collector is there", extra={"fields": {"address": self._address}})
            self.connected, self._coordination.collector_away = True, False
            backoff.reset()
            self._something.set()
            await stream.run(self._read(stream), self._write(stream))
            raise AssertionError("both go on until the stream ends")
        finally:
            stream.cancel()

    async def _read(self, stream: Stream) -> None:
        acknowledged = 0
        while True:
            answer: pb.Acknowledged = await stream.read()
            while acknowledged < answer.sequence and self._open:
                acknowledged += 1
                self._refusals = 0
                for number, version in self._open.popleft():
                    self._coordination.stored(number, version)
            self._something.set()

    async def _write(self, stream: Stream) -> None:
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
                await stream.write(message)
