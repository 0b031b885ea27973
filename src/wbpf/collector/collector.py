"""The collector: keeps what agents deliver and what the coordinator concludes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio

from wbpf.collector.committing import Committing
from wbpf.collector.intake import Arrived, Intake, take_conclusion, take_needs
from wbpf.collector.spec import CollectorSpec
from wbpf.errors import AccessError, StoreError, WbpfError
from wbpf.store import Store
from wbpf.wire import COLLECTION, Daemon, Meter, handlers, serve
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.channel import may_speak_for, peer_names
from wbpf.wire.lock import take_lock
from wbpf.wire.validate import Malformed, clip

LOG = logging.getLogger("wbpf.collector")
CONCLUSIONS_MOST = 4096
CONCLUSION_BYTES = 256  # while it waits, about
OWNERS_MOST = 1 << 20
HOSTS_MOST = 4096

Context = grpc.aio.ServicerContext[Any, Any]


class _Ending:
    """What has become of messages of one stream: the first refusal ends it."""

    def __init__(self) -> None:
        self._refused: WbpfError | None = None
        self._something = asyncio.Event()

    def news(self, error: WbpfError | None) -> None:
        self._refused = self._refused or error
        self._something.set()

    async def wait(self) -> None:
        """Wait for news; raises the refusal."""
        await self._something.wait()
        self._something.clear()
        if self._refused is not None:
            raise self._refused


class Collector(Daemon):
    """A collector. Its address is known once it is started."""

    name = "collector"

    def __init__(self, spec: CollectorSpec | None = None) -> None:
        super().__init__()
        self.spec = spec or CollectorSpec()
        self.address = ""
        self.meter = Meter()
        self._started_unix_ns = time.time_ns()
        self._owners: dict[int, int] = {}
        self._pools: dict[int, int] = {}
        self._server: grpc.aio.Server | None = None
        self._committing: Committing | None = None
        self._lock: int | None = None

    async def open(self) -> None:
        behaviours = {"Deliver": self._deliver, "Conclude": self._conclude, "Status": self._status}
        handler = handlers(COLLECTION, behaviours, self.meter)
        # First the address: a second collector must not touch the first one's store.
        self._server, self.address = serve(handler, self.spec.address, self.spec.tls)
        try:
            self.spec.store.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AccessError(
                f"folder {self.spec.store.parent} of the store can't be made",
                error.strerror or str(error),
                "name another --store",
            ) from error
        store = self.spec.store
        self._lock = take_lock(
            store.with_name(f"{store.name}.lock"),
            0o600,
            taken=f"another collector writes to {store}",
            else_use="name another --store",
            other="name another --store",
        )
        self._committing = Committing(Store.open(self.spec.store), self.spec.waiting_bytes)
        await self._server.start()
        self.work(self._committing.run())
        self.work(self._retain())

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(0.2)
        await self.end_work()
        if self._committing is not None:
            self._committing.close()
        if self._lock is not None:
            os.close(self._lock)
        self._server = self._committing = self._lock = None

    def facts(self) -> dict[str, Any]:
        return {"address": self.address, "store": str(self.spec.store)}

    async def _deliver(self, _: Any, context: Context) -> None:
        """One agent's deliveries."""
        intake = Intake(self._owners, self._pools)
        names = peer_names(context) if self.spec.tls is None or self.spec.tls.verify_hosts else None

        def take(message: pb.Delivery) -> Arrived:
            known = intake.host
            arrived = intake.take(message)
            if known is None and intake.host is not None and not may_speak_for(names, intake.host.name):
                raise Malformed(f"a certificate that may not speak for host {intake.host.name!r}")
            if len(self._owners) > OWNERS_MOST:
                self._owners.pop(next(iter(self._owners)))
            if len(self._pools) > HOSTS_MOST:
                self._pools.pop(next(iter(self._pools)))
            return arrived

        await self._take_in(context, take)

    async def _conclude(self, _: Any, context: Context) -> None:
        """The coordinator's conclusions: each is told of when it is stored, unless a later replaced it."""
        committing = self._committing
        assert committing is not None
        stored: list[int] = []
        held: dict[bytes, int] = {}
        ending = _Ending()

        def take(wire: pb.WireConclusion) -> None:
            conclusion = take_conclusion(wire)

            def then(error: WbpfError | None) -> None:
                if held.get(conclusion.trace_id) == number:
                    del held[conclusion.trace_id]
                if error is None:
                    stored.append(wire.ticket)
                ending.news(error)

            arrived = Arrived(CONCLUSION_BYTES, needs=take_needs(wire), conclusions=[conclusion])
            if (earlier := held.get(conclusion.trace_id)) is not None:
                committing.let_go([earlier])
            number = held[conclusion.trace_id] = committing.hold(arrived, then)

        async def read() -> None:
            while (message := await context.read()) is not grpc.aio.EOF:
                if len(message.conclusions) > CONCLUSIONS_MOST:
                    raise Malformed(f"{len(message.conclusions)} conclusions at once")
                await committing.has_room()
                for wire in message.conclusions:
                    take(wire)

        async def tell() -> None:
            while True:
                await ending.wait()
                if stored:
                    tickets = stored[:]
                    stored.clear()
                    await context.write(pb.Stored(tickets=tickets))

        try:
            await self._converse(context, read(), tell())
        finally:
            committing.let_go(held.values())

    async def _take_in(self, context: Context, take: Callable[[Any], Arrived]) -> None:
        """Take messages in and acknowledge them, in order, once they are committed."""
        committing = self._committing
        assert committing is not None
        committed = 0
        ending = _Ending()

        def then(error: WbpfError | None) -> None:
            nonlocal committed
            committed += error is None
            ending.news(error)

        async def read() -> None:
            while (message := await context.read()) is not grpc.aio.EOF:
                await committing.put(take(message), then)

        async def tell() -> None:
            told = 0
            while True:
                await ending.wait()
                if committed > told:
                    told = committed
                    await context.write(pb.Acknowledged(sequence=told))

        await self._converse(context, read(), tell())

    async def _converse(self, context: Context, *work: Coroutine[Any, Any, None]) -> None:
        """Read and write until one of them ends; a peer that is refused is told why."""
        tasks = [asyncio.ensure_future(part) for part in work]
        refused: WbpfError | None = None
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except WbpfError as error:
            refused = error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if refused is not None:
            why = f"{refused.what}: {refused.why}"
            LOG.warning("a stream was refused", extra={"fields": {"peer": context.peer(), "why": clip(why)}})
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)

    async def _retain(self) -> None:
        assert self._committing is not None
        while True:
            await asyncio.sleep(self.spec.retain_every_s)
            try:
                deleted = await self._committing.retain(self.spec.retain_bytes, self.spec.retain_s)
            except StoreError as error:
                LOG.error("old traces can't be deleted", extra={"fields": {"why": str(error)}})
            else:
                if deleted:
                    LOG.info("old traces were deleted", extra={"fields": {"count": deleted}})

    async def _status(self, request: st.StatusRequest, context: Context) -> st.CollectorStatus:
        committing = self._committing
        assert committing is not None
        fault, size, traces = committing.fault, 0, 0
        if not fault:
            try:
                size, traces = await committing.stats()
            except StoreError as error:
                fault = f"{error.what}: {error.why}"
        return st.CollectorStatus(
            address=self.address,
            pid=os.getpid(),
            started_unix_ns=self._started_unix_ns,
            store=str(self.spec.store),
            store_bytes=size,
            traces=traces,
            commits=committing.commits,
            pieces=committing.pieces,
            waiting_bytes=committing.waiting_bytes,
            fault=fault,
            bytes=self.meter.counts(),
        )
