"""The agent: one a host. It sleeps until a trigger fires or the coordinator asks, and then reads segments."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Any

import grpc.aio

from wbpf.agent.conversation import Conversation
from wbpf.agent.current import running_traces
from wbpf.agent.host import Bell, HostFolder
from wbpf.agent.link import Link
from wbpf.agent.pool_side import PoolSide
from wbpf.agent.segments import Attached, Segments
from wbpf.agent.shipping import Shipping
from wbpf.agent.spec import AgentSpec
from wbpf.agent.stand_in import StandIn
from wbpf.errors import WbpfError
from wbpf.records import host_id
from wbpf.wire import Daemon, Meter, connect
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.validate import validate_name

LOG = logging.getLogger("wbpf.agent")
ROUND_S = 1.0


class Agent(Daemon):
    """An agent."""

    name = "agent"

    def __init__(self, spec: AgentSpec | None = None) -> None:
        super().__init__()
        self.spec = spec or AgentSpec()
        self.host = self.spec.host_name
        self.meter = Meter()
        self._started_unix_ns = time.time_ns()
        self._folder: HostFolder | None = None
        self._bell: Bell | None = None
        self._pool: PoolSide | None = None
        self._channels: list[grpc.aio.Channel] = []

    async def open(self) -> None:
        validate_name(self.host)
        spec = self.spec
        folder = self._folder = HostFolder(spec.host_directory)
        if spec.pool is not None:
            self._pool = PoolSide(spec.pool, self.host, spec.flush)
        agent_id = secrets.randbits(64)
        facts = pb.HostFacts(
            name=self.host,
            host_id=host_id(self.host),
            incarnation=folder.incarnation,
            agent=agent_id & 0xFFFF_FFFF,
            pool_id=self._pool.pool_id if self._pool else 0,
        )
        self._dirty = asyncio.Event()
        self._channels = [connect(spec.coordinator, spec.tls), connect(spec.collector, spec.tls)]
        self._segments = Segments(folder.path, self._attached, self._removed)
        self._conversation = Conversation(
            spec,
            facts,
            agent_id,
            folder.started_unix_ns,
            self._segments,
            time.monotonic,
            self._wake,
            self._dirty.set,
        )
        self._conversation.status = self._status
        if self._pool is not None:
            self._conversation.pool_hosts = self._pool.host_ids
            self._conversation.stand_in = lambda collects: self.work(self._stand_in(collects))
        self._conversation.find_current = lambda query: self.work(self._find_current(query))
        self._link = Link(self._conversation, self._channels[0], spec.coordinator, self.meter, time.time_ns)
        self._shipping = Shipping(
            self._conversation.delivery, self._channels[1], spec.collector, self.meter, self._wake
        )
        self._segments.scan()
        self._bell = Bell(folder.doorbell, self._rung)
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
            self._conversation.watching.close()
            if self._pool is not None:
                await asyncio.to_thread(self._pool.close)
            self._segments.close()
            self._folder.close()
        self._bell = self._folder = self._pool = None

    def facts(self) -> dict[str, Any]:
        return {"host": self.host, "directory": str(self.spec.host_directory)}

    def _attached(self, attached: Attached) -> None:
        self._conversation.attached(attached)
        if self._pool is not None:
            self._pool.attached(attached)

    def _removed(self, attached: Attached) -> None:
        self._conversation.watching.removed(time.time_ns())
        if self._pool is not None:
            self._pool.removed(attached)

    def _wake(self) -> None:
        self._link.wake()

    def _rung(self) -> None:
        """The doorbell: a trigger has fired, or a segment was made."""
        self._segments.scan_if_changed()
        self._conversation.rung()

    async def _rounds(self) -> None:
        while True:
            self._segments.scan()
            self._conversation.round()
            await asyncio.sleep(ROUND_S)

    async def _look(self) -> None:
        """Look for watched traces when it is time to."""
        watching = self._conversation.watching
        while True:
            now = time.monotonic()
            due = watching.next_poll_s(now)
            if due is None or due > now:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._dirty.wait(), None if due is None else due - now)
                if self._dirty.is_set():
                    self._dirty.clear()
                    continue
            try:
                watching.poll(time.monotonic())
            except WbpfError as error:
                LOG.error("segments can't be searched", extra={"fields": {"why": str(error)}})
                await asyncio.sleep(ROUND_S)
            self._link.wake()
            self._shipping.wake()
            await asyncio.sleep(0)

    async def _find_current(self, query: pb.FindCurrent) -> None:
        segments = [attached.segment for attached in self._segments]
        trace_ids = await asyncio.to_thread(running_traces, segments, query.limit)
        self._conversation.answer(
            pb.FromAgent(current=pb.Current(query=query.query, trace_ids=b"".join(trace_ids)))
        )

    async def _stand_in(self, collects: list[pb.Collect]) -> None:
        """Look for traces in what hosts that are gone had flushed to the pool."""
        assert self._pool is not None
        conversation = self._conversation
        session = conversation.watching.session
        for gone in dict.fromkeys(collect.host_id for collect in collects):
            wanted = {one.trace_id: one.gather for one in collects if one.host_id == gone}
            found = await asyncio.to_thread(self._pool.search, gone, list(wanted))
            for trace_id, number in wanted.items():
                standing = StandIn(trace_id, number, session, time.monotonic(), found)
                for attached, piece, pid in standing.pieces(time.monotonic()):
                    conversation.delivery.put(standing, attached, piece, pid)
                conversation.stood_in(standing)
        self._shipping.wake()

    def _status(self, query: int) -> st.AgentStatus:
        segments: list[st.SegmentStatus] = []
        self._segments.each(lambda attached: segments.append(attached.status()))
        conversation = self._conversation
        return st.AgentStatus(
            query=query,
            host=self.host,
            pid=os.getpid(),
            started_unix_ns=self._started_unix_ns,
            segments=segments,
            queues=[queue.status() for queue in conversation.triggers.queues.queues.values()],
            watching=len(conversation.watching),
            undelivered_bytes=conversation.delivery.undelivered_bytes,
            collector_connected=self._shipping.connected,
            bytes=self.meter.counts(),
            faults=[f"{path}: {why}" for path, why in (*self._segments.faults.items(), *self._pool_faults())],
            searches=conversation.watching.searches,
            clears_dropped=conversation.clears_dropped,
        )

    def _pool_faults(self) -> list[tuple[Path, str]]:
        return list(self._pool.faults.items()) if self._pool else []
