"""What a host notices by itself: operations that take unusually long, and bytes that are not the object's.

Each is recorded, and asks for the trace in which it was noticed.
"""

from __future__ import annotations

from collections.abc import Iterable

import wbpf
from wbpf.demo.detector import ServiceTimes
from wbpf.errors import StaleViewError
from wbpf.pool import PoolHost, PoolView, Timing, VerifyResult
from wbpf.records import host_id


class Symptoms:
    """Watches one host's operations on the pool.

    Args:
        hosts: the names of all hosts.
    """

    def __init__(self, hosts: Iterable[str]) -> None:
        self._names = {host_id(name): name for name in hosts}
        self._service_times = ServiceTimes()
        self._fired: set[str] = set()

    def warm_up(self, host: PoolHost) -> None:
        """Learn how long operations take, from objects of this host's own."""
        for _ in range(self._service_times.window):
            self.write(host, f"warm-up.{host.name}", bytes(512))
            with host.get(f"warm-up.{host.name}") as view:
                self.check_time("get", view.timing)
            self.delete(host, f"warm-up.{host.name}")

    def start_task(self) -> None:
        """What is noticed from now on is of another trace, or another host's part of it."""
        self._fired.clear()

    @property
    def noticed(self) -> bool:
        """Was anything, since `start_task`?"""
        return bool(self._fired)

    def write(self, host: PoolHost, object_id: str, content: bytes) -> None:
        """Create an object, fill and seal it."""
        writer = host.create(object_id, len(content))
        self.check_time("create", writer.timing)
        with writer as buffer:
            buffer[:] = content
        self.check_time("seal", writer.timing)

    def delete(self, host: PoolHost, object_id: str) -> None:
        """Delete an object."""
        host.delete(object_id)
        self.check_time("delete", host.last_timing)

    def check_time(self, operation: str, timing: Timing) -> None:
        """Did an operation take longer than others of its class?"""
        excess = self._service_times.observe(operation, timing.service_ns, timing.base_ns)
        if excess is None:
            return
        wbpf.event(
            "congestion.seen",
            level="warn",
            operation=operation,
            service_ns=timing.service_ns,
            base_ns=timing.base_ns,
            mads_beyond_median=excess,
        )
        self._trigger("congestion", excess)

    def check_bytes(self, view: PoolView) -> None:
        """Are the bytes seen those of the object? If not, read them again.

        Raises:
            StaleViewError: they are wrong even then.
        """
        result = view.verify()
        if result is VerifyResult.OK:
            return
        seen = view.seen()
        wbpf.event(
            "stale.seen",
            level="error",
            object=view.id,
            result=result.name.lower(),
            generation=view.generation,
            seen_generation=seen.generation if seen else 0,
            writer=self._names.get(seen.writer_host_id, "") if seen else "",
            writer_trace=seen.trace_id.hex() if seen else "",
        )
        self._trigger("stale_read", view.generation - seen.generation if seen else 0)
        view.refresh()
        if view.verify() is not VerifyResult.OK:
            raise StaleViewError(
                f"object {view.id} can't be read",
                "its bytes are wrong even after a refresh",
                "look at its trace: wbpf traces list",
            )

    def _trigger(self, name: str, value: float) -> None:
        """Ask for the current trace, once."""
        if name not in self._fired:
            self._fired.add(name)
            wbpf.trigger(name, value)
