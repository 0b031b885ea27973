"""What is known of the hosts, segments and processes that records come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostInfo:
    """A host in one of its lives.

    Args:
        host_id: FNV-1a, 64 bits, of its name.
        incarnation: random, new at each start of the host.
    """

    host_id: int
    incarnation: int
    name: str


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A segment: the memory that one service of one host records into.

    Args:
        ticks_hz: nominal rate of its counter.
        clock_kind: of `layout.Clock`.
    """

    segment_id: int
    host_id: int
    incarnation: int
    service: str
    ticks_hz: int
    clock_kind: int


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process that wrote into a segment, by its slot there."""

    process: int
    pid: int
    name: str
