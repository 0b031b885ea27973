"""Conclusions on their way to the collector: sent, sent again, acknowledged."""

from __future__ import annotations

import asyncio
import logging
from itertools import islice
from typing import NoReturn

import grpc
import grpc.aio

from wbpf.coordinator.endings import Endings
from wbpf.coordinator.gather import Needs
from wbpf.records import Conclusion, Status
from wbpf.wire import COLLECTION, Backoff, Meter, Stream, StreamEnded
from wbpf.wire import gather_pb2 as pb

LOG = logging.getLogger("wbpf.coordinator")
CONCLUSIONS_A_MESSAGE = 256
#: Conclusions sent and not yet stored: beyond that the collector is given time.
OPEN_MOST = 4096
REFUSALS_MOST = 3
NO_NEEDS: Needs = {}
NOTHING = 0, 0

_STATUS = {
    Status.COMPLETE: pb.HOST_STATUS_COMPLETE,
    Status.PARTIAL: pb.HOST_STATUS_PARTIAL,
    Status.UNKNOWN: pb.HOST_STATUS_UNKNOWN,
}


def to_wire(conclusion: Conclusion, needs: Needs = NO_NEEDS, ticket: int = 0) -> pb.WireConclusion:
    """The message that says the same."""
    return pb.WireConclusion(
        ticket=ticket,
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
                agent=needs.get(part.host_id, NOTHING)[0],
                upto=needs.get(part.host_id, NOTHING)[1],
            )
            for part in conclusion.hosts
        ],
    )


class Storing:
    """The stream of conclusions. Call `wake` when there are new ones in `endings.to_store`."""

    def __init__(self, endings: Endings, channel: grpc.aio.Channel, address: str, meter: Meter) -> None:
        self._endings = endings
        self._channel = channel
        self._address = address
        self._meter = meter
        self._something = asyncio.Event()
        self._ticket = 0
        self._open: dict[int, tuple[int, int]] = {}  # ticket → gather and version
        self._tickets: dict[int, int] = {}  # gather → ticket of its last version
        self._refusals = 0
        self.connected = False

    def wake(self) -> None:
        self._something.set()

    @property
    def unstored(self) -> int:
        return len(self._endings.to_store) + len(self._open)

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
            self.connected, self._endings.collector_away = False, True
            self._send_again()
            await asyncio.sleep(backoff.next_s())

    def _refuse(self, why: str) -> None:
        """The collector refuses what comes first: send it alone, and in the end not at all."""
        self._refusals += 1
        if self._refusals > REFUSALS_MOST and self._open:
            self._refusals = 0
            number, version = self._take(next(iter(self._open)))
            LOG.error("the collector refuses a conclusion", extra={"fields": {"gather": number, "why": why}})
            self._endings.stored(number, version)

    def _send_again(self) -> None:
        """What was not stored is to be sent once more, unless a later version is already."""
        for number, version in self._open.values():
            self._endings.store_again(number, version)
        self._open.clear()
        self._tickets.clear()

    async def _stream(self, backoff: Backoff) -> NoReturn:
        stream = COLLECTION["Conclude"].stream(self._channel, self._meter)
        try:
            await stream.connect()
            if not self.connected:
                LOG.info("collector is there", extra={"fields": {"address": self._address}})
            self.connected, self._endings.collector_away = True, False
            backoff.reset()
            self._something.set()
            await stream.run(self._read(stream), self._write(stream))
            raise AssertionError("both go on until the stream ends")
        finally:
            stream.cancel()

    async def _read(self, stream: Stream) -> None:
        while True:
            answer: pb.Stored = await stream.read()
            for ticket in answer.tickets:
                if ticket in self._open:
                    self._refusals = 0
                    self._endings.stored(*self._take(ticket))
            self._something.set()

    async def _write(self, stream: Stream) -> None:
        waiting = self._endings.to_store
        while True:
            await self._something.wait()
            self._something.clear()
            # After a refusal one at a time, to find out which it is.
            while waiting and len(self._open) < (1 if self._refusals else OPEN_MOST):
                message = pb.Conclusions()
                taken = list(islice(waiting.items(), 1 if self._refusals else CONCLUSIONS_A_MESSAGE))
                for number, (version, conclusion, needs) in taken:
                    del waiting[number]
                    message.conclusions.append(to_wire(conclusion, needs, self._give_ticket(number, version)))
                await stream.write(message)

    def _give_ticket(self, number: int, version: int) -> int:
        """For a version of a gather's conclusion; the collector may drop an earlier one unanswered."""
        self._open.pop(self._tickets.get(number, 0), None)
        self._ticket = self._ticket % 0xFFFF_FFFF + 1
        self._open[self._ticket] = number, version
        self._tickets[number] = self._ticket
        return self._ticket

    def _take(self, ticket: int) -> tuple[int, int]:
        number, version = self._open.pop(ticket)
        del self._tickets[number]
        return number, version
