"""The agent: one a host. It sleeps until a trigger fires or the coordinator asks, and then reads segments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any

import grpc.aio

from wbpf.agent.current import running_traces
from wbpf.agent.delivery import Delivery
from wbpf.agent.host import Bell, HostFolder
from wbpf.agent.levels import Levels
from wbpf.agent.link import Link
from wbpf.agent.segments import Attached, Segments
from wbpf.agent.shipping import Shipping
from wbpf.agent.spec import AgentSpec
from wbpf.agent.triggers import Triggers
from wbpf.agent.watched import Watched
from wbpf.agent.watching import Watching
from wbpf.errors import WbpfError
from wbpf.records import host_id
from wbpf.wire import PROTOCOL, Daemon, Meter, connect
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.validate import Malformed, split_ids, validate_name, validate_trace_id

LOG = logging.getLogger("wbpf.agent")
ROUND_S = 1.0
FOUNDS_A_MESSAGE = 512
#: Cleared ids that are passed on a second; more are dropped and counted: clearing is best effort.
CLEARS_A_ROUND = 8192
COLLECTS_MOST = 16_384


class Agent(Daemon):
    """An agent."""

    name = "agent"

    def __init__(self, spec: AgentSpec | None = None) -> None:
        super().__init__()
        self.spec = spec or AgentSpec()
        self.host = self.spec.host_name
        self.host_id = host_id(self.host)
        self.agent_id = secrets.randbits(64)
        self.meter = Meter()
        self._started_unix_ns = time.time_ns()
        self._folder: HostFolder | None = None
        self._bell: Bell | None = None
        self._channels: list[grpc.aio.Channel] = []
        self._clears_dropped = 0

    async def open(self) -> None:
        validate_name(self.host)
        self._folder = HostFolder(self.spec.host_directory)
        facts = pb.HostFacts(name=self.host, host_id=self.host_id, incarnation=self._folder.incarnation)
        self._answers: list[pb.FromAgent] = []
        self._delivered: dict[int, Watched] = {}
        self._reduces: list[pb.Reduce] = []
        self._cleared: dict[bytes, None] = {}
        self._heartbeat_due = False
        self._dirty = asyncio.Event()
        self._segments = Segments(self._folder.path, self._attached, self._removed)
        self._triggers = Triggers(self.spec)
        self._levels = Levels()
        self._delivery = Delivery(facts, self._acknowledged)
        self._watching = Watching(
            self._segments,
            self._delivery.put,
            self.spec.linger_s,
            self.spec.watch_most_s,
            lambda: self._delivery.undelivered_bytes < self.spec.undelivered_bytes,
        )
        self._channels = [
            connect(self.spec.coordinator, self.spec.tls),
            connect(self.spec.collector, self.spec.tls),
        ]
        self._link = Link(self, self._channels[0], self.spec.coordinator, self.meter, time.time_ns)
        self._shipping = Shipping(
            self._delivery, self._channels[1], self.spec.collector, self.meter, self._some_acknowledged
        )
        self._segments.scan()
        self._bell = Bell(self._folder.doorbell, self._rung)
        for work in (self._link.run(), self._shipping.run(), self._look(), self._rounds()):
            self.work(work)

    async def close(self) -> None:
        await self.end_work()
        if self._bell is not None:
            await asyncio.to_thread(self._bell.close)
        for channel in self._channels:
            await channel.close()
        self._channels = []
        if self._folder is not None:
            self._watching.close()
            self._segments.close()
            self._folder.close()
        self._bell = self._folder = None

    def facts(self) -> dict[str, Any]:
        return {"host": self.host, "directory": str(self.spec.host_directory)}

    # ---- segments ------------------------------------------------------------------------------------------

    def _attached(self, attached: Attached) -> None:
        attached.calibrate()
        self._levels.attached(attached)
        self._watching.attached(attached)
        if self._triggers.read(attached, time.monotonic(), again=True):
            self._link.wake()

    def _removed(self, attached: Attached) -> None:
        self._watching.removed(time.time_ns())

    def _rung(self) -> None:
        """The doorbell: a trigger has fired, or a segment was made."""
        self._segments.scan()
        now = time.monotonic()
        news = False

        def read(attached: Attached) -> None:
            nonlocal news
            news = self._triggers.read(attached, now) or news

        self._segments.each(read)
        if news:
            self._link.wake()

    async def _rounds(self) -> None:
        """What is done once a second."""
        while True:
            self._segments.scan()
            self._segments.each(self._round)
            self._watching.expire_unreleased(time.monotonic())
            self._heartbeat_due = True
            self._link.wake()
            await asyncio.sleep(ROUND_S)

    def _round(self, attached: Attached) -> None:
        attached.calibrate()
        self._levels.correct(attached)
        # Also what the bell would tell: a ring that was missed costs a second, not the trigger.
        self._triggers.read(attached, time.monotonic())
        for trace_id in attached.cleared():
            if len(self._cleared) < CLEARS_A_ROUND:
                self._cleared[trace_id] = None
            else:
                self._clears_dropped += 1

    async def _look(self) -> None:
        """Look for watched traces when it is time to."""
        while True:
            now = time.monotonic()
            due = self._watching.next_poll_s(now)
            if due is None or due > now:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._dirty.wait(), None if due is None else due - now)
                if self._dirty.is_set():
                    self._dirty.clear()
                    continue
            try:
                self._watching.poll(time.monotonic())
            except WbpfError as error:
                LOG.error("segments can't be searched", extra={"fields": {"why": str(error)}})
                await asyncio.sleep(ROUND_S)
            self._link.wake()
            self._shipping.wake()
            await asyncio.sleep(0)

    def _acknowledged(self, watched: Watched) -> None:
        if watched.session == self._watching.session and watched.told:
            self._delivered[watched.number] = watched

    def _some_acknowledged(self) -> None:
        if self._delivered:
            self._link.wake()

    # ---- the coordinator (link.Ends) -----------------------------------------------------------------------

    def hello(self) -> pb.Hello:
        assert self._folder is not None
        return pb.Hello(
            protocol=PROTOCOL,
            host=self.host,
            host_id=self.host_id,
            incarnation=self._folder.incarnation,
            agent_id=self.agent_id,
            host_started_unix_ns=self._folder.started_unix_ns,
            watching=self._watching.standing(),
        )

    def welcomed(self, welcome: pb.Welcome) -> None:
        self._watching.connected(welcome.session)
        self._triggers.reconnected()
        self._answers.clear()
        self._delivered.clear()

    def handle(self, message: pb.ToAgent) -> None:
        now = time.monotonic()
        body = message.WhichOneof("body")
        if body == "collects":
            if len(message.collects.collects) > COLLECTS_MOST:
                raise Malformed(f"{len(message.collects.collects)} traces asked for at once")
            for collect in message.collects.collects:
                validate_trace_id(collect.trace_id)
            self._watching.collect(message.collects.collects, now)
            self._dirty.set()
        elif body == "releases":
            self._watching.release(message.releases.gathers, now)
            self._watching.forget(split_ids(message.releases.trace_ids, COLLECTS_MOST), now)
            self._triggers.settled(message.releases.fires)
            self._dirty.set()
        elif body == "answers":
            self._triggers.admitted(message.answers.admitted)
            self._triggers.refused(message.answers.refused)
            self._triggers.done(message.answers.done)
            self._link.wake()
        elif body == "clear":
            ids = split_ids(message.clear.trace_ids, COLLECTS_MOST)
            self._segments.each(lambda attached: self._clear(attached, ids))
        elif body == "levels":
            for change in message.levels.changes:
                if change.trace_id:
                    validate_trace_id(change.trace_id)
                self._levels.change(change.trace_id, min(change.level, 255))
            self._segments.each(self._levels.apply)
        elif body == "find_status":
            self._answer(pb.FromAgent(status=self._status(message.find_status.query)))
        elif body == "find_current":
            self.work(self._find_current(message.find_current))

    @staticmethod
    def _clear(attached: Attached, trace_ids: list[bytes]) -> None:
        attached.segment.clear(trace_ids)

    def _answer(self, message: pb.FromAgent) -> None:
        self._answers.append(message)
        self._link.wake()

    async def _find_current(self, query: pb.FindCurrent) -> None:
        trace_ids = await asyncio.to_thread(
            running_traces, [one.segment for one in self._segments], query.limit
        )
        self._answer(pb.FromAgent(current=pb.Current(query=query.query, trace_ids=b"".join(trace_ids))))

    def messages(self) -> Iterator[pb.FromAgent]:
        while fires := self._triggers.due():
            yield pb.FromAgent(fires=pb.Fires(fires=fires))
        while founds := self._watching.news(FOUNDS_A_MESSAGE):
            yield pb.FromAgent(founds=pb.Founds(found=founds))
        if self._delivered:
            delivered, self._delivered = self._delivered, {}
            numbers = [
                number for number, w in delivered.items() if not w.undelivered and not w.delivered_told
            ]
            if numbers:
                for number in numbers:
                    delivered[number].delivered_told = True
                yield pb.FromAgent(delivered=pb.Delivered(gathers=numbers))
        if reduces := self._triggers.reduces_due():
            yield pb.FromAgent(reduces=pb.Reduces(reduces=reduces))
        if self._heartbeat_due:
            self._heartbeat_due = False
            yield pb.FromAgent(heartbeat=pb.Heartbeat(watching=len(self._watching)))
            if self._cleared:
                ids, self._cleared = b"".join(self._cleared), {}
                yield pb.FromAgent(cleared=pb.Cleared(trace_ids=ids))
        while self._answers:
            yield self._answers.pop(0)

    def _status(self, query: int) -> st.AgentStatus:
        segments: list[st.SegmentStatus] = []
        self._segments.each(lambda attached: segments.append(attached.status()))
        return st.AgentStatus(
            query=query,
            host=self.host,
            pid=os.getpid(),
            started_unix_ns=self._started_unix_ns,
            segments=segments,
            queues=[
                st.QueueStatus(
                    trigger=queue.name,
                    weight=queue.limit.weight,
                    rate_per_s=queue.limit.rate,
                    queued=len(queue.waiting),
                    open=queue.open,
                    fired=queue.fired,
                    admitted=queue.admitted,
                    limited=queue.limited,
                    overflowed=queue.overflowed,
                    refused=queue.refused,
                )
                for queue in self._triggers.queues.queues.values()
            ],
            watching=len(self._watching),
            undelivered_bytes=self._delivery.undelivered_bytes,
            collector_connected=self._shipping.connected,
            bytes=self.meter.counts(),
            faults=[f"{path}: {why}" for path, why in self._segments.faults.items()],
            searches=self._watching.searches,
            clears_dropped=self._clears_dropped,
        )
