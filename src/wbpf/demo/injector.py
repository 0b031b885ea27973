"""Injects faults, and writes down which, for the score alone: nothing that detects faults may read it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from wbpf.pool import PoolHost


#: In the log, the kind of a line that tells of a death.
KILLED = "killed"


class FaultKind(StrEnum):
    """The name is also that of the trigger which should fire."""

    STALE_READ = "stale_read"
    CONGESTION = "congestion"


class Stage(StrEnum):
    MAP = "map"
    REDUCE = "reduce"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that one request shall meet.

    Args:
        stage: where: at the mapper, or at one of those that read a partition.
        pick: which of these readers, from 0 up to 1.
        factor: of congestion: how much longer the link takes.
        operations: of congestion: how many operations it lasts.
    """

    kind: FaultKind
    stage: Stage
    pick: float
    factor: float = 1.0
    operations: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of a fault, by the word of the pool library.

    Args:
        armed: the fault lay in wait.
        took_effect: bytes delivered were older than the pool's, or an operation was lengthened.
    """

    host: str
    object_id: str
    armed: bool
    fired: bool
    took_effect: bool
    lines_stale: int
    lines_differing: int
    lengthened_ns: int


def choose(seed: int, requests: int, rate: float) -> dict[int, Fault]:
    """Choose the requests that meet a fault, each with probability `rate`, and the faults."""
    random = np.random.default_rng(seed)
    faults = {}
    for request in np.flatnonzero(random.random(requests) < rate).tolist():
        pick = random.random()
        if random.random() < 0.5:
            faults[request] = Fault(FaultKind.STALE_READ, Stage.REDUCE, pick)
        else:
            stage = Stage.MAP if random.random() < 0.5 else Stage.REDUCE
            factor, operations = 1.5 + 6.5 * random.random(), int(random.integers(1, 4))
            faults[request] = Fault(FaultKind.CONGESTION, stage, pick, factor, operations)
    return faults


class Armed:
    """A fault lying in wait on a host, until `effect` is asked for."""

    def __init__(self, host: PoolHost, fault: Fault, object_id: str, trace_id: bytes) -> None:
        from wbpf.pool import faults

        self._host, self._object_id = host.name, object_id
        if fault.kind is FaultKind.STALE_READ:
            self._armed = faults.arm_skip_invalidate(host, object_id, trace_id=trace_id)
        else:
            self._armed = faults.arm_congestion(host, fault.factor, fault.operations, trace_id=trace_id)

    def effect(self) -> Effect:
        """Disarm it, and tell what it did."""
        result = self._armed.disarm()
        return Effect(
            self._host,
            self._object_id,
            True,
            result.fired,
            result.took_effect,
            result.lines_stale,
            result.lines_differing,
            result.lengthened_ns,
        )


class FaultLog:
    """The injector's own file: one JSON object a line, a line for each fault."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def write(self, request: int, trace_id: bytes, fault: Fault, effect: Effect | None) -> None:
        """Note a fault; without an effect it never lay in wait: its host died before."""
        line = {"request": request, "trace_id": trace_id.hex(), **asdict(fault)}
        line |= asdict(effect) if effect else {"armed": False, "fired": False, "took_effect": False}
        self._put(line)

    def write_kill(self, what: str, host: str, done: int) -> None:
        """Note that something was killed when so many requests were done."""
        self._put({"kind": KILLED, "what": what, "host": host, "requests_done": done})

    def _put(self, line: dict[str, Any]) -> None:
        print(json.dumps(line), file=self._file, flush=True)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> FaultLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
