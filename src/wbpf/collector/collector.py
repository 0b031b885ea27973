"""The collector: keeps what agents deliver and what the coordinator concludes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import grpc
import grpc.aio

from wbpf.collector.committing import Committing
from wbpf.collector.intake import Arrived, Intake, take_conclusion
from wbpf.collector.spec import CollectorSpec
from wbpf.errors import AccessError, StoreError, WbpfError
from wbpf.store import Store
from wbpf.wire import COLLECTION, Daemon, Meter, handlers, serve
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.channel import may_speak_for, peer_names
from wbpf.wire.validate import Malformed, clip

LOG = logging.getLogger("wbpf.collector")
CONCLUSIONS_MOST = 4096
OWNERS_MOST = 1 << 20

Context = grpc.aio.ServicerContext[Any, Any]


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
        self._server: grpc.aio.Server | None = None
        self._committing: Committing | None = None

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
        self._server = self._committing = None

    def facts(self) -> dict[str, Any]:
        return {"address": self.address, "store": str(self.spec.store)}

    async def _deliver(self, _: Any, context: Context) -> None:
        """One agent's deliveries."""
        intake = Intake(self._owners)
        names = peer_names(context) if self.spec.tls is None or self.spec.tls.verify_hosts else None

        def take(message: pb.Delivery) -> Arrived:
            known = intake.host
            arrived = intake.take(message)
            if known is None and intake.host is not None and not may_speak_for(names, intake.host.name):
                raise Malformed(f"a certificate that may not speak for host {intake.host.name!r}")
            if len(self._owners) > OWNERS_MOST:
                self._owners.pop(next(iter(self._owners)))
            return arrived

        await self._take_in(context, take)

    async def _conclude(self, _: Any, context: Context) -> None:
        """The coordinator's conclusions."""

        def take(message: pb.Conclusions) -> Arrived:
            if len(message.conclusions) > CONCLUSIONS_MOST:
                raise Malformed(f"{len(message.conclusions)} conclusions at once")
            conclusions = [take_conclusion(wire) for wire in message.conclusions]
            return Arrived(256 * len(conclusions), conclusions=conclusions)

        await self._take_in(context, take)

    async def _take_in(self, context: Context, take: Any) -> None:
        """Take messages in and acknowledge them, in order, once they are committed."""
        committing = self._committing
        assert committing is not None
        committed = 0
        failed: WbpfError | None = None
        something = asyncio.Event()

        def then(error: WbpfError | None) -> None:
            nonlocal committed, failed
            committed += error is None and failed is None
            failed = failed or error
            something.set()

        async def acknowledge() -> None:
            told = 0
            while failed is None:
                await something.wait()
                something.clear()
                if committed > told:
                    told = committed
                    await context.write(pb.Acknowledged(sequence=told))
            raise failed

        async def read() -> None:
            while (message := await context.read()) is not grpc.aio.EOF:
                await committing.put(take(message), then)

        tasks = [asyncio.ensure_future(read()), asyncio.ensure_future(acknowledge())]
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
