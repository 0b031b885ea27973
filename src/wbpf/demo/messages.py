"""What the driver and the hosts' processes say to each other, pickled, over a socket pair a process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from wbpf.demo.cost import Cost
from wbpf.demo.data import Array, Names
from wbpf.demo.injector import Effect, Fault


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What a process is told when it starts.

    Args:
        host: the host that it is part of.
        hosts: all hosts, in the order of their numbers.
        owners: the number of the host that owns each carrier's groups.
        names: what the codes in the tables mean.
    """

    host: str
    hosts: tuple[str, ...]
    pool: str
    tables: str
    owners: tuple[int, ...]
    names: Names
    segment_mib: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> WorkerSpec:
        known = json.loads(text)
        known["names"] = Names(*map(tuple, known["names"].values()))
        return cls(**known | {"hosts": tuple(known["hosts"]), "owners": tuple(known["owners"])})


@dataclass(frozen=True, slots=True)
class Map:
    """Read, join and partition a slice of the flights."""

    request: int
    start: int
    stop: int
    fault: Fault | None


@dataclass(frozen=True, slots=True)
class Part:
    """A partition in the pool: the flights of one request that one host has to add up.

    Args:
        owner: number of the host that should add it up.
        context: of the trace, for that host (`TraceContext.to_bytes`).
    """

    object_id: str
    owner: int
    context: bytes


@dataclass(frozen=True, slots=True)
class Mapped:
    """A `Map` is done.

    Args:
        virtual_ns: the mapper's virtual clock, which those who read the partitions go on from.
        triggered: it fired a trigger for this trace.
    """

    request: int
    trace_id: bytes
    parts: tuple[Part, ...]
    virtual_ns: int
    triggered: bool
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class Reduce:
    """Read a partition from the pool, add it up, delete it.

    Args:
        fatal: the process dies of it, by SIGKILL, when it has recorded what it added and not yet ended.
    """

    request: int
    part: Part
    virtual_ns: int
    fault: Fault | None
    fatal: bool


@dataclass(frozen=True, slots=True)
class Reduced:
    """A `Reduce` is done."""

    request: int
    object_id: str
    trace_id: bytes
    virtual_ns: int
    triggered: bool
    effect: Effect | None


@dataclass(frozen=True, slots=True)
class Owners:
    """From now on these hosts own the carriers' groups."""

    owners: Array


@dataclass(frozen=True, slots=True)
class HostLost:
    """Another host died with a part in these traces: ask for them."""

    host: str
    contexts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """No more work."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has joined the pool, opened its segment, and learned how long operations take."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The process's answer and its account, after `Finish`.

    Args:
        totals: what it added up, shape [groups, len(TOTALS)].
        cost: what recording cost it.
        virtual_ns: its host's virtual clock.
    """

    totals: Array
    cost: Cost
    virtual_ns: int


Order = Map | Reduce | Owners | HostLost | Finish
Answer = Ready | Mapped | Reduced | Finished
