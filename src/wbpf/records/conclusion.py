"""How a gather ended: which traces, why, and what each host had to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Is everything there that was written for a trace?"""

    COMPLETE = "complete"
    PARTIAL = "partial"
    UNKNOWN = "unknown"


#: From good to bad: what is known to miss something is worse than what may miss something.
_ORDER = (Status.COMPLETE, Status.UNKNOWN, Status.PARTIAL)


def worst(statuses: Iterable[Status]) -> Status:
    """The status of a whole of which these are the parts; unknown if there are none."""
    return max(statuses, key=_ORDER.index, default=Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class HostPart:
    """One host's part in a trace.

    Args:
        reasons: why the status is not complete.
        offset_ns: added to the host's wall clock to bring it to the coordinator's.
        uncertainty_ns: the offset is right within this.
        records: how many the host wrote.
        bytes: what they took.
    """

    name: str
    host_id: int
    incarnation: int
    status: Status
    reasons: Sequence[str] = ()
    offset_ns: int = 0
    uncertainty_ns: int = 0
    records: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The end of a gather for one of its traces. A later one for the same trace replaces it.

    Args:
        fired_unix_ns: when the trigger fired, on the coordinator's clock.
        group_id: the same for a triggered trace and its laterals; empty for a trace gathered alone.
        laterals: the traces gathered with it.
    """

    trace_id: bytes
    trigger_name: str
    trigger_value: float
    trigger_host: str
    fired_unix_ns: int
    group_id: bytes
    laterals: Sequence[bytes]
    hosts: Sequence[HostPart]
    concluded_unix_ns: int

    @property
    def status(self) -> Status:
        return worst(part.status for part in self.hosts)
