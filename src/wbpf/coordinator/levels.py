"""Log levels of traces and hosts, told to all agents, also those that come later."""

from __future__ import annotations

from collections import OrderedDict

from wbpf.coordinator.hosts import Host, Hosts
from wbpf.coordinator.outbox import Outbox
from wbpf.wire.validate import Malformed, validate_trace_id

#: Traces with a level of their own, told to hosts that come later: as many as a segment holds.
LEVELS_MOST = 32


class Levels:
    """The levels that differ from those of the applications."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._of_traces: OrderedDict[bytes, int] = OrderedDict()
        self._of_hosts: dict[int, int] = {}

    def greet(self, host: Host, outbox: Outbox) -> None:
        """Tell a host that comes."""
        for trace_id, level in self._of_traces.items():
            outbox.set_level(trace_id, level)
        if host.host_id in self._of_hosts:
            outbox.set_level(b"", self._of_hosts[host.host_id])

    def change(self, trace_id: bytes, level: int, host: Host | None = None) -> list[str]:
        """Set the level of a trace or, with an empty id, of a host; returns who was told."""
        if not 0 <= level <= 255 or (not trace_id and not level):
            raise Malformed(f"level {level}")
        if trace_id:
            validate_trace_id(trace_id)
            self._of_traces.pop(trace_id, None)
            if level:
                self._of_traces[trace_id] = level
            if len(self._of_traces) > LEVELS_MOST:
                self._of_traces.popitem(last=False)
        told = self._hosts.attached() if host is None else [host]
        for one in told:
            if not trace_id:
                self._of_hosts[one.host_id] = level
            if one.outbox is not None:
                one.outbox.set_level(trace_id, level)
        return [one.name for one in told if one.outbox is not None]
