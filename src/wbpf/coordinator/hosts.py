"""The hosts that the coordinator knows, and their agents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wbpf.coordinator.offset import Offset, OffsetEstimate
from wbpf.coordinator.outbox import Outbox
from wbpf.wire import gather_pb2 as pb

#: An agent that was silent this long is as good as gone: it says something every second.
SILENCE_S = 3.0
#: Messages that no agent of ours sends, after which a stream is closed.
STRIKES_MOST = 100
POOL_HOSTS_MOST = 1024


@dataclass(slots=True, eq=False)
class Host:
    """One host, with the agent that speaks for it or spoke for it last.

    Args:
        outbox: None while no agent is attached.
        heard_s, heard_unix_ns: when something last came from its agent.
        left_unix_ns: when its stream ended; 0 while attached.
        pool_id, pool_hosts: the pool that it can read, 0 for none, and whose hosts are in it.
        strikes: how many impossible messages came from this agent.
    """

    host_id: int
    name: str
    incarnation: int
    agent_id: int
    started_unix_ns: int
    address: str
    heard_s: float
    heard_unix_ns: int
    outbox: Outbox | None = None
    left_unix_ns: int = 0
    clock: OffsetEstimate = field(default_factory=OffsetEstimate)
    pool_id: int = 0
    pool_hosts: frozenset[int] = frozenset()
    strikes: int = 0
    watching: int = 0

    def speaks_for(self, agent: int) -> bool:
        """Is this the agent whose id has this low half?"""
        return self.agent_id & 0xFFFF_FFFF == agent

    def reachable(self, now_s: float) -> bool:
        return self.outbox is not None and now_s - self.heard_s < SILENCE_S

    def offset(self, now_s: float, since_s: float | None = None) -> Offset | None:
        """Its clock's now, or at any time since then."""
        return self.clock.best(now_s, since_s)


class Hosts:
    """All hosts ever attached, by id; those long gone are forgotten when there are too many."""

    def __init__(self, most: int = 4096) -> None:
        self.most = most
        self._hosts: dict[int, Host] = {}

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def get(self, host_id: int) -> Host | None:
        return self._hosts.get(host_id)

    def attached(self) -> list[Host]:
        return [host for host in self._hosts.values() if host.outbox is not None]

    def name(self, host_id: int) -> str:
        host = self._hosts.get(host_id)
        return host.name if host else f"host-{host_id:016x}"

    def admit(self, hello: pb.Hello, address: str, now_s: float, now_unix_ns: int) -> Host | None:
        """Take the host in, or again; None if another live agent speaks for it, or hosts are too many."""
        host = self._hosts.get(hello.host_id)
        if host is None:
            if len(self._hosts) >= self.most and not self._forget_one():
                return None
            host = self._hosts[hello.host_id] = Host(
                hello.host_id,
                hello.host,
                hello.incarnation,
                hello.agent_id,
                hello.host_started_unix_ns,
                address,
                now_s,
                now_unix_ns,
            )
        elif host.agent_id != hello.agent_id:
            if host.reachable(now_s):
                return None
            host.strikes = 0
            host.clock = OffsetEstimate()
        host.incarnation, host.agent_id = hello.incarnation, hello.agent_id
        host.started_unix_ns = hello.host_started_unix_ns
        host.pool_id, host.pool_hosts = hello.pool_id, frozenset(hello.pool_hosts[:POOL_HOSTS_MOST])
        host.address, host.heard_s, host.heard_unix_ns, host.left_unix_ns = address, now_s, now_unix_ns, 0
        return host

    def survivors_of(self, host_id: int) -> list[Host]:
        """Attached hosts that share a pool with one that is gone: by its own word, if there was one."""
        gone = self._hosts.get(host_id)
        return [
            host
            for host in self.attached()
            if host.pool_id
            and host_id in host.pool_hosts
            and host.host_id != host_id
            and (gone is None or gone.pool_id == host.pool_id)
        ]

    def gone(self) -> list[Host]:
        """Hosts that no agent speaks for now, but that others share a pool with."""
        return [
            host
            for host in self._hosts.values()
            if host.outbox is None and host.pool_id and self.survivors_of(host.host_id)
        ]

    def _forget_one(self) -> bool:
        gone = [host for host in self._hosts.values() if host.outbox is None]
        if not gone:
            return False
        del self._hosts[min(gone, key=lambda host: host.heard_s).host_id]
        return True
