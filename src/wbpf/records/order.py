"""The order of a trace's records over all hosts: by time, and causes before effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush

from wbpf.records.layout import Direction, Kind
from wbpf.records.trace import Record

#: Records that one thread after another appended to one chunk, in the order in which they stand there.
Column = list[Record]


def interpolate(times: Sequence[int | None], otherwise: int) -> list[int]:
    """Give a time to those that have none: evenly between their neighbours; none runs backwards.

    Args:
        times: in the order of writing; None where there is none.
        otherwise: the time of all if none is known.
    """
    known = [i for i, time in enumerate(times) if time is not None]
    out = [otherwise] * len(times)
    latest = 0
    for at, i in enumerate(known):
        latest = max(latest, times[i] or 0)
        out[i] = latest
        if at:
            before = known[at - 1]
            for j in range(before + 1, i):
                out[j] = out[before] + (latest - out[before]) * (j - before) // (i - before)
    if known:
        out[: known[0]] = [out[known[0]]] * known[0]
        out[known[-1] + 1 :] = [latest] * (len(times) - known[-1] - 1)
    return out


def sender_edge(record: Record) -> int:
    """The edge that a record sends the trace over; 0 if it doesn't."""
    edge = record.edge
    return edge.edge_span_id if edge is not None and edge.direction == Direction.OUT else 0


def receiver_edge(record: Record) -> int:
    """The edge that may have brought the trace to a record: its parent's if it begins a span; 0 if none."""
    if record.kind == Kind.BEGIN:
        return record.parent_span_id
    edge = record.edge
    return edge.edge_span_id if edge is not None and edge.direction == Direction.IN else 0


def clock_shifts(columns: Sequence[Column], uncertainty_ns: Mapping[str, int]) -> dict[str, int]:
    """By how much to move hosts' clocks so that nothing comes before its cause.

    Within their uncertainties if that is enough. If not, a clock was worse than was thought, and its whole
    host is moved: the times between its own records are right, whatever its offset.

    Returns:
        The shifts of those hosts that need one.
    """
    sent = {sender_edge(r): r for column in columns for r in column if sender_edge(r)}
    # How much later the receiver's clock must be than the sender's, at least.
    lag: dict[tuple[str, str], int] = {}
    for record in (record for column in columns for record in column):
        cause = sent.get(receiver_edge(record))
        if cause is not None and cause.host != record.host:
            pair = cause.host, record.host
            wanted = cause.time_unix_ns - record.time_unix_ns
            lag[pair] = max(lag.get(pair, wanted), wanted)
    shifts = dict.fromkeys((host for pair in lag for host in pair), 0)
    if not _settle(shifts, lag, uncertainty_ns):
        farther = dict(shifts)
        if _settle(farther, lag, None):
            shifts = farther
    return {host: shift for host, shift in shifts.items() if shift}


def _settle(
    shifts: dict[str, int], lag: Mapping[tuple[str, str], int], limits: Mapping[str, int] | None
) -> bool:
    """Move clocks until every receiver's is late enough; False if that can't be."""
    for _ in range(len(shifts) + 2):
        settled = True
        for (sender, receiver), wanted in lag.items():
            missing = wanted - (shifts[receiver] - shifts[sender])
            if missing <= 0:
                continue
            settled = False
            if limits is None:
                shifts[receiver] += missing
                continue
            later = max(min(missing, limits.get(receiver, 0) - shifts[receiver]), 0)
            shifts[receiver] += later
            shifts[sender] -= max(min(missing - later, limits.get(sender, 0) + shifts[sender]), 0)
        if settled:
            return True
    return False


def merge(columns: Sequence[Column]) -> Iterator[Record]:
    """All records by time. One whose time is before its cause's gets the time of its cause."""
    pending = {sender_edge(r) for column in columns for r in column} - {0}
    blocked: dict[int, list[int]] = {}
    position = [0] * len(columns)
    heap: list[tuple[int, int]] = []
    now = 0

    def push(i: int) -> None:
        if position[i] < len(columns[i]):
            heappush(heap, (max(columns[i][position[i]].time_unix_ns, now), i))

    def release(edge: int) -> None:
        pending.discard(edge)
        for i in blocked.pop(edge, ()):
            push(i)

    for i in range(len(columns)):
        push(i)
    while heap or blocked:
        if not heap:
            # Edges in a circle: no order is right, so let the earliest go on.
            waiting = [
                (columns[i][position[i]].time_unix_ns, edge) for edge, at in blocked.items() for i in at
            ]
            release(min(waiting)[1])
            continue
        time, i = heappop(heap)
        record = columns[i][position[i]]
        edge = receiver_edge(record)
        if edge in pending:
            blocked.setdefault(edge, []).append(i)
            continue
        now = record.time_unix_ns = time
        position[i] += 1
        push(i)
        release(sender_edge(record))
        yield record
