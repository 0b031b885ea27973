"""Who had the cores meanwhile."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bench.recorder.scheduler import Event, Kind

IDLE, OTHERS = "idle", "other programs"


def cores_used(
    events: Iterable[Event], names: Mapping[int, str], during: Sequence[tuple[int, int]]
) -> dict[str, float]:
    """How many cores each had, on average.

    Args:
        events: of the scheduler, in order of time.
        names: of processes, by id; those of one name are taken together.
        during: from when until when, by the monotonic clock in ns; in order, none overlaps another.
    """
    ends = [to_ns for _, to_ns in during]
    total_ns = sum(to_ns - from_ns for from_ns, to_ns in during)
    used: dict[str, float] = defaultdict(float)
    since: dict[int, int] = {}
    for event in events:
        if event.kind != Kind.SWITCH:
            continue
        began_ns = since.get(event.cpu, event.mono_ns)
        since[event.cpu] = event.mono_ns
        name = names.get(event.process, OTHERS) if event.process else IDLE
        at = bisect_left(ends, began_ns)
        while at < len(during) and during[at][0] < event.mono_ns:
            used[name] += (min(event.mono_ns, ends[at]) - max(began_ns, during[at][0])) / total_ns
            at += 1
    return used
