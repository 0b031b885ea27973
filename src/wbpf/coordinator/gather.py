"""One trace being gathered: who was asked, and what each host has told so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from wbpf.records import Conclusion
from wbpf.wire import gather_pb2 as pb
from wbpf.wire.validate import Malformed, clip, split_ids

#: Bounds on what hosts can make the coordinator remember of one trace, and of one breadcrumb.
CRUMBS_MOST = 20_000
CLAIMS_MOST = 16
LATERALS_MOST = 64
FAULTS_MOST = 8


#: By host id: low half of an agent's id, and the number of a piece that it delivers.
Needs = dict[int, tuple[int, int]]
#: What hosts say of one end of breadcrumbs: edge → host that has it → the peer it names, or 0.
Claims = dict[int, dict[int, int]]


@dataclass(slots=True)
class Part:
    """What one host has told of one trace.

    Args:
        named: a breadcrumb says that the trace was there.
        fired: a trigger fired there, so the trace may well have been.
        guessed: it was asked only because traces of this trigger usually were there: nobody waits for it.
        asked_s: when it was asked, by the coordinator's monotonic clock.
        told_s: when it last told something new.
        incarnation: of the host when it last answered; `agent`: low half of the agent's id.
        upto: number of its last piece in what that agent delivers.
        stand_in: tells instead while the host is gone.
    """

    host_id: int
    named: bool
    asked_s: float
    fired: bool = False
    guessed: bool = False
    answered: bool = False
    told_s: float = 0.0
    incarnation: int = 0
    agent: int = 0
    upto: int = 0
    delivered: bool = True
    records: int = 0
    bytes: int = 0
    open_spans: int = 0
    lost_until_unix_ns: int = 0
    lost_uncertainty_ns: int = 0
    origin: bool = False
    died: tuple[int, ...] = ()
    faults: tuple[str, ...] = ()
    stand_in: StandIn | None = None

    @property
    def best(self) -> Part:
        """What is known of this host: by its own agent or, if that can't tell, from the pool."""
        stand = self.stand_in
        if stand is None or not stand.part.answered or stand.part.records < self.records:
            return self
        finished = self.answered and self.delivered and not self.open_spans
        return self if finished and stand.part.records == self.records else stand.part


@dataclass(slots=True)
class StandIn:
    """A host that tells what one that is gone had flushed to the pool that they share.

    Args:
        by: its id.
        part: what it has told.
        flushed_unix_ns: what was recorded before that, by the gone host's clock, was read; 0: nothing was.
        alive: processes of the host live, its agent alone is gone.
        torn: groups that were cut off, and left out.
    """

    by: int
    part: Part
    flushed_unix_ns: int = 0
    alive: bool = False
    torn: int = 0

    @property
    def done(self) -> bool:
        """It has told all, and the collector has it."""
        return self.part.answered and self.part.delivered


@dataclass(frozen=True, slots=True)
class TriggerFacts:
    """Why a trace is gathered. An empty name: the coordinator that knew is gone."""

    name: str
    value: float
    host: str
    fired_unix_ns: int


@dataclass(slots=True)
class Group:
    """A triggered trace and its laterals: admitted together, and their triggers settled together."""

    group_id: bytes
    members: list[Gather] = field(default_factory=list)
    laterals: dict[bytes, None] = field(default_factory=dict)

    def stored(self) -> bool:
        return not any(member.pending for member in self.members)


@dataclass(slots=True, eq=False)
class Gather:
    """One trace being gathered.

    Args:
        number: what coordinator and agents call it.
        start_unix_ns: of the trace, by the clock of the host where it began; 0: not known.
        origin: id of that host; 0: not known. `Part.origin` tells of all that say so.
        began_s: when that was, by the coordinator's monotonic clock; infinite while it is not known.
        fires: the triggers that wait for it, and the hosts they came from.
        progress_s: when the last trigger or the last new breadcrumb came, monotonic.
        everyone: all hosts were asked, because it is not known which took part.
        edges_sent, edges_received: what hosts say of breadcrumbs.
        unanswered: edges sent, with the host, and not known to be received by whom it named; `unsent` the
            other way round.
        conclusion: the last one; `version` counts them. It is true once the `needs` are stored.
        pending: not stored since it was opened, or opened again.
        settled: nothing more is waited for, once the last conclusion is stored.
        closed: the hosts were told to let go.
    """

    number: int
    trace_id: bytes
    trigger: TriggerFacts
    group: Group
    opened_s: float
    progress_s: float
    primary: bool = True
    start_unix_ns: int = 0
    origin: int = 0
    began_s: float = float("inf")
    parts: dict[int, Part] = field(default_factory=dict)
    fires: dict[int, int] = field(default_factory=dict)
    everyone: bool = False
    edges_sent: Claims = field(default_factory=dict)
    edges_received: Claims = field(default_factory=dict)
    unanswered: set[tuple[int, int]] = field(default_factory=set)
    unsent: set[tuple[int, int]] = field(default_factory=set)
    overfull: bool = False
    check_s: float = 0.0
    conclusion: Conclusion | None = None
    needs: Needs = field(default_factory=dict)
    concluded_s: float = 0.0
    version: int = 0
    stored_version: int = 0
    pending: bool = True
    settled: bool = False
    closed: bool = False

    @property
    def rootless(self) -> bool:
        """It began on a host of ours, but where was not found."""
        return self.start_unix_ns != 0 and not self.origin

    @property
    def has_records(self) -> bool:
        """Was anything found of it?"""
        return any(part.best.records for part in self.parts.values())

    @property
    def nowhere(self) -> bool:
        """A person asks for it, or somebody watched it for a coordinator that is gone, and nobody has it."""
        fired = bool(self.fires) or (self.trigger.name != "" and self.trigger.host != "")
        return self.conclusion is None and not self.has_records and self.primary and not fired

    @property
    def awaited(self) -> int:
        """How many hosts' answers it waits for."""
        return sum(not part.answered and not part.guessed for part in self.parts.values())

    def ask(self, host_id: int, now_s: float, named: bool, guessed: bool = False) -> bool:
        """Note that the host is to be asked; False if it was already."""
        part = self.parts.get(host_id)
        if part is not None:
            part.named = part.named or named
            part.guessed = part.guessed and guessed
            return False
        self.parts[host_id] = Part(host_id, named, now_s, guessed=guessed)
        return True

    def absorb(self, part: Part, found: pb.Found, now_s: float) -> tuple[set[int], bool, list[bytes]]:
        """Take what a host tells.

        Returns:
            Hosts named by new breadcrumbs; whether one of those names no host; new lateral traces.

        Raises:
            Malformed: the message can't be right. Nothing was taken then.
        """
        laterals = split_ids(found.laterals, LATERALS_MOST)
        if found.records and not found.bytes:
            raise Malformed(f"{found.records} records of no bytes")
        if found.delivered or found.bytes > part.bytes or not part.answered:
            part.delivered = found.delivered or not found.bytes
        part.answered = True
        part.upto = found.upto
        part.told_s = now_s
        part.records, part.bytes = found.records, found.bytes
        part.open_spans = found.open_spans
        part.lost_until_unix_ns = found.lost_until_unix_ns
        part.lost_uncertainty_ns = found.lost_uncertainty_ns
        part.died = tuple(found.died[:FAULTS_MOST])
        part.faults = tuple(clip(fault) for fault in found.faults[:FAULTS_MOST])
        if found.start_unix_ns:
            # All records of a trace tell the same; if hosts differ, what was lost since the earliest counts.
            self.start_unix_ns = min(found.start_unix_ns, self.start_unix_ns or found.start_unix_ns)
        if found.origin:
            part.origin, self.origin = True, self.origin or part.host_id
        named, nameless = self._take_crumbs(part.host_id, found)
        if named or nameless:
            self.progress_s = now_s
        return named, nameless, laterals

    def _take_crumbs(self, host_id: int, found: pb.Found) -> tuple[set[int], bool]:
        named: set[int] = set()
        nameless = False
        for crumbs, mine, theirs, waiting, matched in (
            (found.sent, self.edges_sent, self.edges_received, self.unanswered, self.unsent),
            (found.received, self.edges_received, self.edges_sent, self.unsent, self.unanswered),
        ):
            for edge, peer in _edges(crumbs):
                claims = mine.get(edge, {})
                if host_id in claims:
                    continue
                if len(mine) >= CRUMBS_MOST or len(claims) >= CLAIMS_MOST:
                    self.overfull = True
                    return named, nameless
                mine.setdefault(edge, claims)[host_id] = peer
                # Two ends belong together if neither names somebody else.
                others = [
                    other
                    for other, named_there in theirs.get(edge, {}).items()
                    if peer in (0, other) and named_there in (0, host_id)
                ]
                matched.difference_update((edge, other) for other in others)
                if not others:
                    waiting.add((edge, host_id))
                    nameless = nameless or not peer
                if peer:
                    named.add(peer)
        return named, nameless and bool(self.unanswered or self.unsent)


def _edges(crumbs: Iterable[pb.Crumbs]) -> Iterable[tuple[int, int]]:
    for group in crumbs:
        for edge in group.edges:
            yield edge, group.peer_host_id
