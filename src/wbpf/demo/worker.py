"""A host's process: maps and reduces for the driver, over the pool, and records all of it."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import wbpf
from wbpf.demo import cost, groupby
from wbpf.demo.data import WEATHER, Tables
from wbpf.demo.detector import ServiceTimes
from wbpf.demo.injector import Armed, Fault
from wbpf.demo.messages import (
    Answer,
    Finish,
    Finished,
    HostLost,
    Map,
    Mapped,
    Order,
    Owners,
    Part,
    Ready,
    Reduce,
    Reduced,
    WorkerSpec,
)
from wbpf.pool import Pool, PoolView, Timing, VerifyResult

#: Modelled: what the host computes between its accesses to the pool, charged to its virtual clock.
DISPATCH_NS, JOIN_ROW_NS, FOLD_ROW_NS = 20_000, 400, 150
#: Modelled: a message from one host to another.
MESSAGE_NS = 5_000


class Worker:
    """The live process: `serve` it until the driver says `Finish` or goes away."""

    def __init__(self, spec: WorkerSpec, driver: Connection) -> None:
        self._spec, self._driver = spec, driver
        self._tables = Tables.load(Path(spec.tables))
        self._owners = np.array(spec.owners)
        self._totals = groupby.empty(spec.names)
        self._host = Pool.open(spec.pool).join(spec.host)
        wbpf.open("shuffle", size_mib=spec.segment_mib)
        self._service_times = ServiceTimes()
        self._warm_up()
        self._account = cost.Account()

    def serve(self) -> None:
        self._say(Ready())
        while True:
            order: Order = self._driver.recv()
            match order:
                case Map():
                    self._say(self._map(order))
                case Reduce():
                    self._say(self._reduce(order))
                case Owners():
                    self._owners = order.owners
                case HostLost():
                    self._ask_for(order)
                case Finish():
                    self._say(self._finished())
                    return

    def _say(self, answer: Answer) -> None:
        self._driver.send(answer)

    def _warm_up(self) -> None:
        """Fill the detector's window before the first request, with objects of this host's own."""
        for _ in range(self._service_times.window):
            name = f"warm-up.{self._spec.host}"
            writer = self._host.create(name, 512)
            writer.buffer[:] = bytes(512)
            writer.seal()
            self._usual("create", writer.timing)
            with self._host.get(name) as view:
                self._usual("get", view.timing)
            self._host.delete(name)
            self._usual("delete", self._host.last_timing)

    def _usual(self, operation: str, timing: Timing) -> bool:
        """Does an operation take its usual time? If not, say so and ask for the trace."""
        excess = self._service_times.observe(operation, timing.service_ns, timing.base_ns)
        if excess is None:
            return True
        wbpf.event(
            "congestion.seen",
            operation=operation,
            service_ns=timing.service_ns,
            base_ns=timing.base_ns,
            mads=excess,
        )
        wbpf.trigger("congestion", excess)
        return False

    def _map(self, order: Map) -> Mapped:
        spec, host = self._spec, self._host
        host.advance_by(DISPATCH_NS + JOIN_ROW_NS * (order.stop - order.start))
        usual, effect, names = True, None, spec.names
        parts: list[Part] = []
        with wbpf.trace(
            "request", request=order.request, first=order.start, flights=order.stop - order.start
        ) as trace:
            trace_id = bytes.fromhex(trace.trace_id)
            with wbpf.span("join"):
                joined = groupby.join(
                    self._tables.flights[order.start : order.stop],
                    self._tables.weather,
                    self._tables.planes,
                    len(spec.names.manufacturers),
                )
                for _, carrier, weather, manufacturer, delay, *_ in joined.tolist():
                    wbpf.event(
                        "flight.joined",
                        level="debug",
                        carrier=names.carriers[carrier],
                        weather=WEATHER[weather],
                        manufacturer=names.manufacturers[manufacturer],
                        dep_delay=delay,
                    )
                wbpf.event(
                    "flights.joined",
                    flights=len(joined),
                    no_weather=int(np.count_nonzero(joined["weather"] == 0)),
                    no_plane=int(np.count_nonzero(joined["manufacturer"] == 0)),
                )
            with wbpf.span("partition"):
                for owner, flights in groupby.partition(joined, self._owners).items():
                    name = f"{order.request}.{owner}"
                    armed = self._arm(order.fault if not parts else None, name, trace_id)
                    with host.create(name, flights.nbytes) as buffer:
                        buffer[:] = flights.tobytes()
                    usual &= self._usual("create", host.last_timing)
                    effect = armed.effect() if armed else effect
                    wbpf.event(
                        "partition.written", partition=name, flights=len(flights), bytes=flights.nbytes
                    )
                    parts.append(Part(name, owner, wbpf.send(spec.hosts[owner]).to_bytes()))
        self._account.count(cost.Calls(begin=1, span=2, event=1 + len(joined) + len(parts), send=len(parts)))
        return Mapped(order.request, trace_id, tuple(parts), host.virtual_ns, not usual, effect)

    def _reduce(self, order: Reduce) -> Reduced:
        host, part = self._host, order.part
        host.advance_to(order.virtual_ns + MESSAGE_NS)
        host.advance_by(DISPATCH_NS)
        parent = wbpf.TraceContext.from_bytes(part.context)
        with wbpf.trace("reduce", parent=parent, request=order.request, partition=part.object_id) as trace:
            trace_id = bytes.fromhex(trace.trace_id)
            armed = self._arm(order.fault, part.object_id, trace_id)
            with wbpf.span("read"), host.get(part.object_id) as view:
                usual = self._usual("get", view.timing)
                fresh = self._fresh(view)
                flights = np.frombuffer(view, groupby.JOINED).copy()
            with wbpf.span("add"):
                groups = groupby.fold(self._totals, flights)
                host.advance_by(FOLD_ROW_NS * len(flights))
                for group, count in groups:
                    carrier, weather, manufacturer = self._spec.names.group(group)
                    wbpf.event(
                        "group.added",
                        level="debug",
                        carrier=carrier,
                        weather=weather,
                        manufacturer=manufacturer,
                        flights=count,
                    )
            host.delete(part.object_id)
            usual &= self._usual("delete", host.last_timing)
            effect = armed.effect() if armed else None
        self._account.count(cost.Calls(join=1, span=2, event=len(groups)))
        return Reduced(
            order.request, part.object_id, trace_id, host.virtual_ns, not (usual and fresh), effect
        )

    def _fresh(self, view: PoolView) -> bool:
        """Are the bytes seen those of the object? If not, say so, ask for the trace, and read them again."""
        result = view.verify()
        if result is VerifyResult.OK:
            return True
        seen = view.seen()
        wbpf.event(
            "stale.seen",
            level=wbpf.Level.ERROR,
            partition=view.id,
            result=result.name,
            generation=view.generation,
            seen_generation=seen.generation if seen else 0,
            writer_trace=seen.trace_id.hex() if seen else "",
        )
        wbpf.trigger("stale_read", view.generation - seen.generation if seen else 0)
        view.refresh()
        if view.verify() is not VerifyResult.OK:
            raise wbpf.errors.StaleViewError(
                f"partition {view.id} can't be read",
                "its bytes are wrong even after a refresh",
                "look at its trace: wbpf traces list",
            )
        return False

    def _arm(self, fault: Fault | None, object_id: str, trace_id: bytes) -> Armed | None:
        return Armed(self._host, fault, object_id, trace_id) if fault else None

    def _ask_for(self, lost: HostLost) -> None:
        for context in lost.contexts:
            wbpf.attach(wbpf.TraceContext.from_bytes(context))
            wbpf.event("host.lost", host=lost.host)
            wbpf.trigger("host_lost")
            wbpf.detach()

    def _finished(self) -> Finished:
        return Finished(self._totals, self._account.close(), self._host.virtual_ns)


def main() -> None:
    """Run a worker: WorkerSpec as JSON, and the number of the file that leads to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec, driver = WorkerSpec.from_json(sys.argv[1]), Connection(int(sys.argv[2]))
    try:
        Worker(spec, driver).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(f"{spec.host}: the driver is gone")


if __name__ == "__main__":
    main()
