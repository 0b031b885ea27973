"""What a gather still waits for, and what can be said of each host: complete, partial or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from wbpf.coordinator.gather import Gather, Needs, Part, StandIn
from wbpf.coordinator.hosts import Host, Hosts
from wbpf.records import Conclusion, HostPart, Status


class Waiting(IntEnum):
    """What a gather waits for, the most patient last."""

    NOTHING = 0
    TRACE = 1  # the trace itself: a span's end, the other end of a breadcrumb, a host that is away
    PEERS = 2  # a daemon that works, but has not come to it yet


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a gather waits, in seconds.

    Args:
        limit_s: for the trace, after the last trigger or new breadcrumb.
        peers_s: for a reachable agent's answer, or the collector's acknowledgement.
        watch_s: how long a trace that was concluded too early is watched for its end.
    """

    limit_s: float = 2.0
    peers_s: float = 10.0
    watch_s: float = 30.0


def waits_for(gather: Gather, hosts: Hosts, now_s: float) -> Waiting:
    """What the gather waits for."""
    waiting = Waiting.NOTHING
    for part in gather.parts.values():
        if part.guessed and not part.answered:
            continue
        if part.records and _is_being_compared(hosts.get(part.host_id), now_s):
            return Waiting.PEERS
        if not part.answered or (not part.delivered and not is_promised(part, hosts, now_s)):
            host = hosts.get(part.host_id)
            if host is not None and host.reachable(now_s):
                return Waiting.PEERS
            if part.stand_in is None:
                waiting = Waiting.TRACE
            elif not part.stand_in.done:
                by = hosts.get(part.stand_in.by)
                if by is not None and by.reachable(now_s):
                    return Waiting.PEERS
                waiting = Waiting.TRACE
            elif _may_come_back(part, part.stand_in):
                waiting = Waiting.TRACE
        elif part.open_spans and not (part.stand_in and part.stand_in.done and not part.stand_in.alive):
            waiting = Waiting.TRACE
    if (
        gather.rootless
        or gather.unanswered
        or any(_is_missed(gather, *unsent, hosts, now_s) for unsent in gather.unsent)
    ):
        waiting = Waiting.TRACE
    return waiting


def _may_come_back(part: Part, stand: StandIn) -> bool:
    """Could the host itself still tell more than what was read of it in the pool?"""
    concerned = part.named or part.fired or stand.part.records != 0
    return concerned and (stand.alive or not stand.flushed_unix_ns)


def is_promised(part: Part, hosts: Hosts, now_s: float) -> bool:
    """Is what was found on its way? Then the collector can wait for it as well as we."""
    host = hosts.get(part.host_id)
    return part.upto != 0 and host is not None and host.speaks_for(part.agent) and host.reachable(now_s)


def needs_of(gather: Gather, hosts: Hosts, now_s: float) -> Needs:
    """The pieces that the collector must have before what is concluded is true."""
    return {
        part.host_id: (part.agent, part.upto)
        for part in gather.parts.values()
        if not part.delivered and is_promised(part, hosts, now_s)
    }


def _is_being_compared(host: Host | None, now_s: float) -> bool:
    """Has the host only just come, so that its clock is not known yet?"""
    return host is not None and host.reachable(now_s) and host.offset(now_s) is None


def _is_missed(gather: Gather, edge: int, receiver: int, hosts: Hosts, now_s: float) -> bool:
    """Should the sender's breadcrumb of an edge that somebody says to have received still turn up?

    Not if the receiver names no sender: it may be no host of ours. Not if the sender has lost records.
    """
    peer = gather.edges_received[edge][receiver]
    part = gather.parts.get(peer)
    best = part.best if part is not None else None
    return peer != 0 and not (best is not None and best.answered and _lost(gather, best, hosts, now_s))


def conclude(gather: Gather, hosts: Hosts, patience: Patience, now_s: float, now_unix_ns: int) -> Conclusion:
    """Say how the gather ended, or stands."""
    parts = list(gather.parts.values())
    have = [
        part for part in parts if part.best.records or part.named or _may_have_had(gather, part, hosts, now_s)
    ]
    if not gather.has_records:
        have = parts
    judged = [_judge(gather, part, hosts, patience, now_s) for part in have]
    judged.sort(key=lambda part: part.name)
    return Conclusion(
        trace_id=gather.trace_id,
        trigger_name=gather.trigger.name,
        trigger_value=gather.trigger.value,
        trigger_host=gather.trigger.host,
        fired_unix_ns=gather.trigger.fired_unix_ns,
        group_id=gather.group.group_id if gather.group.laterals else b"",
        laterals=list(gather.group.laterals) if gather.primary else [],
        hosts=judged,
        concluded_unix_ns=now_unix_ns,
    )


def _may_have_had(gather: Gather, part: Part, hosts: Hosts, now_s: float) -> bool:
    """Where a trigger fired the trace probably was, unless the host can say that it was not."""
    return part.fired and not (part.answered and not _lost(gather, part, hosts, now_s))


def same_findings(a: Conclusion, b: Conclusion) -> bool:
    """Do two conclusions of one trace say the same, but for when, and how clocks have drifted since?"""

    def findings(conclusion: Conclusion) -> object:
        return (
            conclusion.trigger_name,
            tuple(conclusion.laterals),
            [
                (p.host_id, p.incarnation, p.status, tuple(p.reasons), p.records, p.bytes)
                for p in conclusion.hosts
            ],
        )

    return findings(a) == findings(b)


def _judge(gather: Gather, part: Part, hosts: Hosts, patience: Patience, now_s: float) -> HostPart:
    host = hosts.get(part.host_id)
    reasons = list(_what_is_missing(gather, part, host, hosts, patience, now_s))
    status = Status.PARTIAL if reasons else Status.COMPLETE
    part = part.best
    if part.answered and (lost := _lost(gather, part, hosts, now_s)):
        reasons.append(lost)
    offset = host.offset(now_s, gather.began_s) if host else None
    if offset is None and part.records:
        reasons.append("its clock was not compared with the coordinator's")
    if gather.rootless:
        reasons.append("the beginning of the trace was not found")
    if reasons and status is Status.COMPLETE:
        status = Status.UNKNOWN
    return HostPart(
        name=hosts.name(part.host_id),
        host_id=part.host_id,
        incarnation=part.incarnation or (host.incarnation if host else 0),
        status=status,
        reasons=reasons,
        offset_ns=offset.offset_ns if offset else 0,
        uncertainty_ns=offset.uncertainty_ns if offset else 0,
        records=part.records,
        bytes=part.bytes,
    )


def _what_is_missing(
    gather: Gather, part: Part, host: Host | None, hosts: Hosts, patience: Patience, now_s: float
) -> list[str]:
    reasons = []
    stand = part.stand_in
    if stand is not None and part.best is stand.part and stand.flushed_unix_ns:
        reasons.append(_read_from_the_pool(part.host_id, stand, host, hosts, now_s))
        part = stand.part
    elif host is None:
        reasons.append("no agent of this host has ever attached")
    elif host.outbox is None and not (part.answered and part.delivered):
        silent_s = max((host.left_unix_ns - host.heard_unix_ns) / 1e9, 0.0)
        reasons.append(
            f"its agent disconnected at {_time(host.left_unix_ns)}, last heard {silent_s:.1f} s before that"
        )
    elif not part.answered:
        silent = "" if host.reachable(now_s) else f"; last heard at {_time(host.heard_unix_ns)}"
        reasons.append(f"its agent did not answer within {now_s - part.asked_s:.1f} s{silent}")
    if part.answered and not part.delivered and not is_promised(part, hosts, now_s):
        reasons.append("its delivery was not acknowledged by the collector")
    reasons.extend(f"process {pid} died inside a span" for pid in part.died)
    if part.open_spans:
        spans = "1 span has" if part.open_spans == 1 else f"{part.open_spans} spans have"
        reasons.append(f"{spans} not ended within {patience.limit_s:g} s")
    reasons.extend(_unanswered(gather, part.host_id, hosts))
    if missed := sum(
        _is_missed(gather, edge, receiver, hosts, now_s)
        and gather.edges_received[edge][receiver] == part.host_id
        for edge, receiver in gather.unsent
    ):
        reasons.append(f"{missed} of its requests were received, but not found with it")
    if gather.overfull:
        reasons.append("the trace has more breadcrumbs than are followed")
    reasons.extend(part.faults)
    if stand is not None and stand.part is not part:
        reasons.extend(stand.part.faults)
    if part.answered and not part.records and not gather.has_records:
        reasons.append("no record of this trace was found on any host")
    return reasons


def _read_from_the_pool(host_id: int, stand: StandIn, host: Host | None, hosts: Hosts, now_s: float) -> str:
    """Why this is not all, and how far it reaches."""
    offset = host.offset(now_s) if host else None
    flushed = _time(stand.flushed_unix_ns + (offset.offset_ns if offset else 0))
    if host is None:
        gone = "no agent of this host has ever attached"
    elif stand.alive:
        gone = f"its agent disconnected at {_time(host.left_unix_ns)}"
    else:
        gone = f"host {host.name} died at {_time(host.left_unix_ns)}"
    torn = f", {stand.torn} torn groups left out" if stand.torn else ""
    return f"{gone}; read from the pool by {hosts.name(stand.by)}: flushed up to {flushed}{torn}"


def _unanswered(gather: Gather, host_id: int, hosts: Hosts) -> list[str]:
    by_peer: dict[int, int] = {}
    for edge, sender in gather.unanswered:
        if sender == host_id:
            peer = gather.edges_sent[edge][sender]
            by_peer[peer] = by_peer.get(peer, 0) + 1
    return [
        f"breadcrumb to {hosts.name(peer) if peer else 'a host not named'} not answered"
        + (f" ({count} times)" if count > 1 else "")
        for peer, count in sorted(by_peer.items())
    ]


def _lost(gather: Gather, part: Part, hosts: Hosts, now_s: float) -> str:
    """Why records of this host may have been recycled before they were read; empty if none were."""
    if not part.lost_until_unix_ns:
        return ""
    until = _time(part.lost_until_unix_ns)
    if not gather.start_unix_ns or not gather.origin:
        missing = "where" if gather.start_unix_ns else "when"
        return f"records written until {until} were recycled, and it is not known {missing} the trace began"
    began = _earliest_start(gather, part, hosts, now_s)
    if began is None:
        return f"records written until {until} were recycled, and clocks were not compared"
    if began > part.lost_until_unix_ns + part.lost_uncertainty_ns:
        return ""
    start = _time(gather.start_unix_ns)
    return f"records written until {until} may have been recycled; the trace began at {start}"


def _earliest_start(gather: Gather, part: Part, hosts: Hosts, now_s: float) -> int | None:
    """The earliest time at which the trace may have begun, by the clock of the part's host.

    If several say that it began with them, each may be right.
    """
    origins = [gather.origin, *(one.host_id for one in gather.parts.values() if one.best.origin)]
    starts = [_start_from(gather, origin, part, hosts, now_s) for origin in dict.fromkeys(origins)]
    known = [start for start in starts if start is not None]
    return min(known) if len(known) == len(starts) else None


def _start_from(gather: Gather, origin_id: int, part: Part, hosts: Hosts, now_s: float) -> int | None:
    if origin_id == part.host_id:
        return gather.start_unix_ns
    here = hosts.get(part.host_id)
    here_offset = here.offset(now_s, gather.began_s) if here else None
    if here_offset is None:
        return None
    origin = hosts.get(origin_id)
    there_offset = origin.offset(now_s, gather.began_s) if origin else None
    if there_offset is None:
        return None
    uncertainty_ns = there_offset.uncertainty_ns + here_offset.uncertainty_ns
    return gather.start_unix_ns + there_offset.offset_ns - here_offset.offset_ns - uncertainty_ns


def _time(unix_ns: int) -> str:
    """Time of day in UTC, with milliseconds."""
    when = datetime.fromtimestamp(min(unix_ns, 1 << 62) / 1e9, UTC)
    return when.strftime("%H:%M:%S.") + f"{when.microsecond // 1000:03d}"
