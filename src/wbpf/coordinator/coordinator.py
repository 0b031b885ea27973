"""The coordinator: one for all hosts, it decides what is gathered and says how that ended."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from wbpf.coordinator.attending import Attending
from wbpf.coordinator.coordination import Coordination
from wbpf.coordinator.gather import Gather
from wbpf.coordinator.hosts import Host
from wbpf.coordinator.spec import CoordinatorSpec
from wbpf.coordinator.storing import Storing, to_wire
from wbpf.errors import WbpfError
from wbpf.records import Status, host_id
from wbpf.wire import COLLECTION, COORDINATION, Daemon, Meter, connect, handlers, serve
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.questions import Questions
from wbpf.wire.validate import Malformed, split_ids

ANSWER_S = 1.0
CURRENT_MOST = 1000
DUMP_MOST = 1000
CLEAR_MOST = 10_000


class SystemClock:
    """The machine's clocks."""

    def mono_s(self) -> float:
        return time.monotonic()

    def unix_ns(self) -> int:
        return time.time_ns()


def _refusing(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Answer a person's mistakes with a status instead of an exception."""

    @functools.wraps(call)
    async def answer(self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await call(self, request, context)
        except WbpfError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error.what}: {error.why}")

    return answer


class Coordinator(Daemon):
    """A coordinator. Its address is known once it is started."""

    name = "coordinator"

    def __init__(self, spec: CoordinatorSpec | None = None) -> None:
        super().__init__()
        self.spec = spec or CoordinatorSpec()
        self.address = ""
        self.meter = Meter()
        self._started_unix_ns = time.time_ns()
        self._questions = Questions()
        self._server: grpc.aio.Server | None = None
        self._channel: grpc.aio.Channel | None = None
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    async def open(self) -> None:
        self.coordination = Coordination(self.spec, SystemClock(), secrets.randbits(64), self._wake)
        self.coordination.endings.on_stored = self._stored
        self._held = asyncio.Event()
        self.coordination.firing.on_held = self._held.set
        verify = self.spec.tls is None or self.spec.tls.verify_hosts
        behaviours = {
            "Attend": Attending(self.coordination, self._questions, verify).attend,
            "Status": self._status,
            "Dump": self._dump,
            "Reduce": self._reduce,
            "Clear": self._clear,
        }
        handler = handlers(COORDINATION, behaviours, self.meter)
        self._server, self.address = serve(handler, self.spec.address, self.spec.tls)
        self._channel = connect(self.spec.collector, self.spec.tls)
        self._storing = Storing(self.coordination.endings, self._channel, self.spec.collector, self.meter)
        await self._server.start()
        self.work(self._storing.run())
        self.work(self._tick())

    async def close(self) -> None:
        await self.end_work()
        if self._server is not None:
            await self._server.stop(0.2)
        if self._channel is not None:
            await self._channel.close()
        self._server = self._channel = None

    def facts(self) -> dict[str, Any]:
        return {"address": self.address, "collector": self.spec.collector}

    def _wake(self) -> None:
        self._storing.wake()

    async def _tick(self) -> None:
        """Give the state machine its time."""
        while True:
            due = self.coordination.next_tick_s()
            now = time.monotonic()
            wait_s = 0.1 if due is None else min(max(due - now, 0.005), 0.1)
            if due is None and not self.coordination.in_flight:
                wait_s = 0.5
            timer = asyncio.get_running_loop().call_later(wait_s, self._held.set)
            await self._held.wait()
            timer.cancel()
            self._held.clear()
            self.coordination.tick()

    def _stored(self, gather: Gather) -> None:
        if not gather.pending:
            for future in self._waiting.pop(gather.number, ()):
                if not future.done():
                    future.set_result(None)

    # ---- what people ask -----------------------------------------------------------------------------------

    @_refusing
    async def _dump(
        self, request: pb.DumpRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DumpReply:
        trace_ids = split_ids(request.trace_ids, DUMP_MOST)
        if request.current:
            trace_ids = await self._running()
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[None]] = []
        gathers = self.coordination.dump(trace_ids)
        for gather in gathers:
            if gather.pending:
                futures.append(loop.create_future())
                self._waiting.setdefault(gather.number, []).append(futures[-1])
        if futures:
            patience = self.spec.patience
            await asyncio.wait(futures, timeout=patience.limit_s + patience.peers_s)
        return pb.DumpReply(
            gathered=[to_wire(gather.conclusion) for gather in gathers if gather.conclusion is not None],
            nowhere=b"".join(gather.trace_id for gather in gathers if gather.closed and gather.nowhere),
        )

    async def _running(self) -> list[bytes]:
        def put(host: Host) -> Callable[[int], None]:
            return lambda number: self._put(
                host, pb.ToAgent(find_current=pb.FindCurrent(query=number, limit=CURRENT_MOST))
            )

        hosts = self.coordination.hosts.attached()
        answers = await self._questions.ask(((host.host_id, put(host)) for host in hosts), 5 * ANSWER_S)
        found: dict[bytes, None] = {}
        for answer in answers.values():
            found.update(dict.fromkeys(split_ids(answer.trace_ids, CURRENT_MOST)))
        return list(found)[:DUMP_MOST]

    @staticmethod
    def _put(host: Host, message: pb.ToAgent) -> None:
        if host.outbox is not None:
            host.outbox.put(message)

    @_refusing
    async def _reduce(
        self, request: pb.ReduceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReduceReply:
        host = None
        if request.host:
            host = self.coordination.hosts.get(host_id(request.host))
            if host is None:
                names = ", ".join(sorted(known.name for known in self.coordination.hosts)) or "none"
                raise WbpfError(f"there is no host {request.host!r}", f"attached are: {names}")
        elif not request.trace_id:
            raise Malformed("neither a trace nor a host")
        return pb.ReduceReply(
            hosts=sorted(self.coordination.levels.change(request.trace_id, request.level, host))
        )

    @_refusing
    async def _clear(
        self, request: pb.ClearRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ClearReply:
        return pb.ClearReply(hosts=sorted(self.coordination.clear(split_ids(request.trace_ids, CLEAR_MOST))))

    async def _status(
        self, request: st.StatusRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> st.ClusterStatus:
        def put(host: Host) -> Callable[[int], None]:
            return lambda number: self._put(host, pb.ToAgent(find_status=pb.FindStatus(query=number)))

        hosts = self.coordination.hosts.attached()
        agents, collector = await asyncio.gather(
            self._questions.ask(((host.host_id, put(host)) for host in hosts), ANSWER_S),
            self._collector_status(),
        )
        now, now_unix_ns = time.monotonic(), time.time_ns()
        states = []
        for host in sorted(self.coordination.hosts, key=lambda host: host.name):
            offset = host.offset(now)
            states.append(
                st.HostState(
                    host=host.name,
                    host_id=host.host_id,
                    connected=host.outbox is not None,
                    address=host.address,
                    heartbeat_age_s=max(now_unix_ns - host.heard_unix_ns, 0) / 1e9,
                    offset_ns=offset.offset_ns if offset else 0,
                    uncertainty_ns=offset.uncertainty_ns if offset else 0,
                    agent=agents.get(host.host_id),
                )
            )
        return st.ClusterStatus(coordinator=self._own_status(), collector=collector, hosts=states)

    def _own_status(self) -> st.CoordinatorStatus:
        coordination = self.coordination
        counts = coordination.endings.counts
        return st.CoordinatorStatus(
            address=self.address,
            pid=os.getpid(),
            started_unix_ns=self._started_unix_ns,
            in_flight=coordination.in_flight,
            complete=counts[Status.COMPLETE],
            partial=counts[Status.PARTIAL],
            unknown=counts[Status.UNKNOWN],
            refused=coordination.firing.refused,
            admission=[
                st.AdmissionStatus(trigger=name, admitted=share.admitted, refused=share.refused)
                for name, share in sorted(coordination.admission.shares.items())
            ],
            bytes=self.meter.counts(),
            collector=self.spec.collector,
            collector_connected=self._storing.connected,
            unstored=self._storing.unstored,
        )

    async def _collector_status(self) -> st.CollectorStatus | None:
        assert self._channel is not None
        try:
            status: st.CollectorStatus = await COLLECTION["Status"].call(
                self._channel, st.StatusRequest(), ANSWER_S
            )
        except grpc.aio.AioRpcError:
            return None
        return status
