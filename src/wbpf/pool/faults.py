"""Faults on purpose: armed for a host's next operations, reported to the one who armed them alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from wbpf import _native
from wbpf.pool.host import PoolHost


class FaultKind(IntEnum):
    """What goes wrong."""

    SKIP_INVALIDATE = 1
    CONGESTION = 2


@dataclass(frozen=True)
class FaultResult:
    """What became of an armed fault.

    Args:
        fired: an operation ran into it.
        finished: all operations it was armed for did.
        took_effect: bytes delivered were older than the pool's, or virtual time really was lengthened.
        operations: how many ran into it.
        lines_stale: lines delivered although older than the pool's version.
        lines_differing: of these, how many have other bytes than the pool's.
        lengthened_ns: modelled time added.
        generation: of the object last hit (skip_invalidate).
        traces: trace ids of the operations that ran into it, up to 8.
    """

    kind: FaultKind
    fired: bool
    finished: bool
    took_effect: bool
    operations: int
    lines_stale: int
    lines_differing: int
    lengthened_ns: int
    generation: int
    traces: tuple[bytes, ...]


class ArmedFault:
    """A fault that lies in wait on a host."""

    def __init__(self, host: PoolHost, kind: FaultKind, ticket: int) -> None:
        self._host = host
        self._kind = kind
        self._ticket = ticket

    def result(self) -> FaultResult:
        """Return what became of it so far; a host remembers at least its last 64 faults."""
        return self._report(disarm=False)

    def disarm(self) -> FaultResult:
        """Take it back if it has not finished, and return what became of it."""
        return self._report(disarm=True)

    def _report(self, *, disarm: bool) -> FaultResult:
        report = _native.pool_fault_result(self._host, self._ticket, disarm)
        return FaultResult(kind=self._kind, fired=report["operations"] > 0, **report)


def arm_skip_invalidate(host: PoolHost, id: str | None, *, trace_id: bytes | None = None) -> ArmedFault:
    """Make the host's next get of an object (None: of any) forget to invalidate the lines in its cache.

    It takes effect if there are such lines, left from an earlier object at the same address.

    Args:
        host: the host; any of its processes may run into it.
        id: of the object.
        trace_id: only operations inside this trace (16 bytes).

    Raises:
        PoolError: 64 faults are armed on this host.
    """
    ticket = _native.pool_fault_arm(host, FaultKind.SKIP_INVALIDATE, id, trace_id, 0.0, 1)
    return ArmedFault(host, FaultKind.SKIP_INVALIDATE, ticket)


def arm_congestion(
    host: PoolHost, factor: float, operations: int, *, trace_id: bytes | None = None
) -> ArmedFault:
    """Make the host's next operations take `factor` times their base time, as on a congested link.

    Args:
        host: the host; any of its processes may run into it.
        factor: above 1.
        operations: how many are hit.
        trace_id: only operations inside this trace (16 bytes).

    Raises:
        PoolError: 64 faults are armed on this host, or a value is out of range.
    """
    ticket = _native.pool_fault_arm(host, FaultKind.CONGESTION, None, trace_id, factor, operations)
    return ArmedFault(host, FaultKind.CONGESTION, ticket)


__all__ = ["ArmedFault", "FaultKind", "FaultResult", "arm_congestion", "arm_skip_invalidate"]
