"""The two kinds of work: to map a slice of the flights, and to reduce a partition of them.

Each request is one trace: the mapper begins it, and those that read its partitions go on with it.
"""

from __future__ import annotations

import os
import signal

import numpy as np

import wbpf
from wbpf.demo import groupby
from wbpf.demo.cost import Calls
from wbpf.demo.data import WEATHER, Array, Tables
from wbpf.demo.injector import Armed, Fault
from wbpf.demo.messages import Map, Mapped, Part, Reduce, Reduced, WorkerSpec
from wbpf.demo.symptoms import Symptoms
from wbpf.pool import PoolHost

#: Modelled: what a host computes between its accesses to the pool, charged to its virtual clock.
DISPATCH_NS, JOIN_ROW_NS, ADD_ROW_NS = 20_000, 400, 150
#: Modelled: a message from one host to another.
MESSAGE_NS = 5_000


class Tasks:
    """One host's side of the job.

    Args:
        spec: what the process was told.
        host: this host in the pool.
        tables: the input.
    """

    def __init__(self, spec: WorkerSpec, host: PoolHost, tables: Tables) -> None:
        self._hosts, self._names, self._host, self._tables = spec.hosts, spec.names, host, tables
        self._symptoms = Symptoms(spec.hosts)
        self._symptoms.warm_up(host)
        self.owners = np.array(spec.owners)
        self.totals = groupby.empty(spec.names)
        self.calls = Calls()
        self._scratch = groupby.empty(spec.names)

    def map(self, order: Map) -> Mapped:
        """Join the flights, and write a partition of them for each host that owns some."""
        self._symptoms.start_task()
        flights = self._tables.flights[order.start : order.stop]
        self._host.advance_by(DISPATCH_NS + JOIN_ROW_NS * len(flights))
        parts: list[Part] = []
        effect = None
        with wbpf.trace("request", request=order.request, first=order.start, flights=len(flights)) as trace:
            trace_id = bytes.fromhex(trace.trace_id)
            with wbpf.span("join"):
                joined = self._join(flights)
            with wbpf.span("partition"):
                for owner, part in groupby.partition(joined, self.owners).items():
                    name = f"{order.request}.{owner}"
                    armed = self._arm(order.fault if not parts else None, name, trace_id)
                    self._symptoms.write(self._host, name, part.tobytes())
                    effect = armed.effect() if armed else effect
                    wbpf.event("partition.written", partition=name, flights=len(part), bytes=part.nbytes)
                    parts.append(Part(name, owner, wbpf.send(self._hosts[owner]).to_bytes()))
        self.calls.add(Calls(begin=1, span=2, event=len(flights) + len(parts), send=len(parts)))
        virtual_ns = self._host.virtual_ns
        return Mapped(order.request, trace_id, tuple(parts), virtual_ns, self._symptoms.noticed, effect)

    def reduce(self, order: Reduce) -> Reduced:
        """Read a partition, add its flights up, delete it."""
        self._symptoms.start_task()
        host, name = self._host, order.part.object_id
        host.advance_to(order.virtual_ns + MESSAGE_NS)
        host.advance_by(DISPATCH_NS)
        parent = wbpf.TraceContext.from_bytes(order.part.context)
        with wbpf.trace("reduce", parent=parent, request=order.request, partition=name) as trace:
            trace_id = bytes.fromhex(trace.trace_id)
            armed = self._arm(order.fault, name, trace_id)
            with wbpf.span("read"), host.get(name) as view:
                self._symptoms.check_time("get", view.timing)
                self._symptoms.check_bytes(view)
                flights = np.frombuffer(memoryview(view), groupby.JOINED).copy()
            with wbpf.span("add"):
                groups = self._add(flights)
                if order.fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
            self._symptoms.delete(host, name)
            effect = armed.effect() if armed else None
        self.calls.add(Calls(join=1, span=2, event=groups))
        return Reduced(order.request, name, trace_id, host.virtual_ns, self._symptoms.noticed, effect)

    def rehearse(self) -> None:
        """Compute what a request computes, and nothing else."""
        flights = self._tables.flights[:17]
        joined = groupby.join(
            flights, self._tables.weather, self._tables.planes, len(self._names.manufacturers)
        )
        for part in groupby.partition(joined, self.owners).values():
            groupby.fold(self._scratch, part)

    def _join(self, flights: Array) -> Array:
        names = self._names
        joined = groupby.join(flights, self._tables.weather, self._tables.planes, len(names.manufacturers))
        for _, carrier, weather, manufacturer, delay, *_ in joined.tolist():
            wbpf.event(
                "flight.joined",
                level="debug",
                carrier=names.carriers[carrier],
                weather=WEATHER[weather],
                manufacturer=names.manufacturers[manufacturer],
                dep_delay=delay,
            )
        return joined

    def _add(self, flights: Array) -> int:
        """Add flights to the totals; returns to how many groups."""
        groups = groupby.fold(self.totals, flights)
        self._host.advance_by(ADD_ROW_NS * len(flights))
        for group, count in groups:
            carrier, weather, manufacturer = self._names.group(group)
            wbpf.event(
                "group.added",
                level="debug",
                carrier=carrier,
                weather=weather,
                manufacturer=manufacturer,
                flights=count,
            )
        return len(groups)

    def _arm(self, fault: Fault | None, object_id: str, trace_id: bytes) -> Armed | None:
        return Armed(self._host, fault, object_id, trace_id) if fault else None
