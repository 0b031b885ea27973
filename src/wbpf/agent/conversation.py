"""What an agent and its coordinator say to each other; without any I/O but that of the segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from wbpf.agent.delivery import Delivery
from wbpf.agent.levels import Levels
from wbpf.agent.segments import Attached
from wbpf.agent.spec import AgentSpec
from wbpf.agent.stand_in import StandIn
from wbpf.agent.triggers import Triggers
from wbpf.agent.watched import Watched
from wbpf.agent.watching import Watching
from wbpf.wire import PROTOCOL
from wbpf.wire import gather_pb2 as pb
from wbpf.wire import status_pb2 as st
from wbpf.wire.validate import Malformed, split_ids, validate_trace_id

FOUNDS_A_MESSAGE = 512
#: Cleared ids that are passed on a second; more are dropped and counted: clearing is best effort.
CLEARS_A_ROUND = 8192
COLLECTS_MOST = 16_384
#: The coordinator usually hears from the collector that a trace is stored; after this long we say so too.
DELIVERED_S = 0.1


class HostSegments(Protocol):
    """The host's segments."""

    def __iter__(self) -> Iterator[Attached]: ...

    def each(self, work: Callable[[Attached], None]) -> None: ...


class Conversation:
    """The agent's side.

    Args:
        spec: of the agent.
        host: name, id and incarnation.
        agent_id: random, one a start of the agent.
        host_started_unix_ns: when this life of the host began.
        segments: of the host.
        mono_s: the clock.
        wake: called when there is something to say.
        look: called when there is something to look for.
    """

    def __init__(
        self,
        spec: AgentSpec,
        host: pb.HostFacts,
        agent_id: int,
        host_started_unix_ns: int,
        segments: HostSegments,
        mono_s: Callable[[], float],
        wake: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        self._host = host
        self._agent_id = agent_id
        self._host_started_unix_ns = host_started_unix_ns
        self._segments = segments
        self._mono_s = mono_s
        self._wake = wake
        self._look = look
        self.triggers = Triggers(spec)
        self.levels = Levels()
        self.delivery = Delivery(host, self._was_delivered)
        self.watching = Watching(
            segments,
            self.delivery.put,
            spec.linger_s,
            spec.watch_most_s,
            lambda: self.delivery.undelivered_bytes < spec.undelivered_bytes,
        )
        self.clears_dropped = 0
        self.status: Callable[[int], st.AgentStatus] = lambda query: st.AgentStatus(query=query)
        self.find_current: Callable[[pb.FindCurrent], None] = lambda query: None
        self.stand_in: Callable[[list[pb.Collect]], None] = lambda collects: None
        self.pool_hosts: list[int] = []
        self._stood_in: dict[tuple[int, int], StandIn] = {}
        self._delivered: dict[int, tuple[float, Watched]] = {}
        self._cleared: dict[bytes, None] = {}
        self._answers: list[pb.FromAgent] = []
        self._heartbeat_due = False

    # ---- what happens on the host --------------------------------------------------------------------------

    def attached(self, attached: Attached) -> None:
        """There is a new segment; triggers in it may have been taken by an agent before this one."""
        attached.calibrate()
        self.levels.apply(attached)
        self.watching.attached(attached)
        if self.triggers.read(attached, self._mono_s(), again=True):
            self._wake()

    def rung(self) -> None:
        """Triggers may have fired."""
        now = self._mono_s()
        news = False

        def read(attached: Attached) -> None:
            nonlocal news
            news = self.triggers.read(attached, now) or news

        self._segments.each(read)
        if news:
            self._wake()

    def round(self) -> None:
        """What is done once a second."""
        self._segments.each(self._round)
        self.watching.expire_unreleased(self._mono_s())
        self._heartbeat_due = True
        self._wake()

    def _round(self, attached: Attached) -> None:
        attached.calibrate()
        self.levels.correct(attached)
        # Also what the bell would tell: a ring that was missed costs a second, not the trigger.
        self.triggers.read(attached, self._mono_s())
        self._read_cleared(attached)

    def _read_cleared(self, attached: Attached) -> None:
        cleared = attached.cleared()
        self.watching.note_cleared(cleared)
        for trace_id in cleared:
            if len(self._cleared) < CLEARS_A_ROUND:
                self._cleared[trace_id] = None
            else:
                self.clears_dropped += 1

    def _was_delivered(self, watched: Watched) -> None:
        if isinstance(watched, StandIn):
            self.stood_in(watched)
        elif watched.session == self.watching.session and watched.told:
            self._delivered[watched.number] = self._mono_s() + DELIVERED_S, watched

    def stood_in(self, standing: StandIn) -> None:
        """There is news of a trace on a host that is gone."""
        if standing.session == self.watching.session:
            self._stood_in[standing.number, standing.recovered.host_id] = standing
            self._wake()

    def answer(self, message: pb.FromAgent) -> None:
        """Say something that was asked for."""
        self._answers.append(message)
        self._wake()

    # ---- what the coordinator says (link.Ends) -------------------------------------------------------------

    def hello(self) -> pb.Hello:
        return pb.Hello(
            protocol=PROTOCOL,
            host=self._host.name,
            host_id=self._host.host_id,
            incarnation=self._host.incarnation,
            agent_id=self._agent_id,
            host_started_unix_ns=self._host_started_unix_ns,
            watching=self.watching.standing(),
            pool_id=self._host.pool_id,
            pool_hosts=self.pool_hosts,
        )

    def welcomed(self, welcome: pb.Welcome) -> None:
        self.watching.connected(welcome.session)
        self.triggers.reconnected()
        self._answers.clear()
        self._delivered.clear()
        self._stood_in.clear()

    def handle(self, message: pb.ToAgent) -> None:
        """A message came.

        Raises:
            Malformed: it can't be right.
        """
        now = self._mono_s()
        body = message.WhichOneof("body")
        if body == "collects":
            if len(message.collects.collects) > COLLECTS_MOST:
                raise Malformed(f"{len(message.collects.collects)} traces asked for at once")
            for collect in message.collects.collects:
                validate_trace_id(collect.trace_id)
            self._segments.each(self._read_cleared)
            self.watching.collect([one for one in message.collects.collects if not one.host_id], now)
            if of_others := [one for one in message.collects.collects if one.host_id]:
                self.stand_in(of_others)
            self.triggers.admitted(message.collects.admitted)
            self._look()
        elif body == "releases":
            self.watching.release(message.releases.gathers, now)
            self.watching.forget(split_ids(message.releases.trace_ids, COLLECTS_MOST), now)
            self.triggers.settled(message.releases.fires)
            self._look()
        elif body == "answers":
            self.triggers.admitted(message.answers.admitted)
            self.triggers.refused(message.answers.refused)
            self.triggers.done(message.answers.done)
            self._wake()
        elif body == "clear":
            ids = split_ids(message.clear.trace_ids, COLLECTS_MOST)
            self.watching.note_cleared(ids)
            self._segments.each(lambda attached: self._clear(attached, ids))
        elif body == "levels":
            self._change_levels(message.levels.changes)
        elif body == "find_status":
            self.answer(pb.FromAgent(status=self.status(message.find_status.query)))
        elif body == "find_current":
            self.find_current(message.find_current)

    @staticmethod
    def _clear(attached: Attached, trace_ids: list[bytes]) -> None:
        attached.segment.clear(trace_ids)

    def _change_levels(self, changes: Iterable[pb.LevelChange]) -> None:
        for change in changes:
            if change.trace_id:
                validate_trace_id(change.trace_id)
            self.levels.change(change.trace_id, min(change.level, 255))
        self._segments.each(self.levels.apply)

    def messages(self) -> Iterator[pb.FromAgent]:
        """What waits to be said, made as it is taken."""
        while fires := self.triggers.due():
            yield pb.FromAgent(fires=pb.Fires(fires=fires))
        while founds := self.watching.news(FOUNDS_A_MESSAGE):
            yield pb.FromAgent(founds=pb.Founds(found=founds))
        if self._stood_in:
            told, self._stood_in = list(self._stood_in.values()), {}
            yield pb.FromAgent(founds=pb.Founds(found=[standing.say() for standing in told]))
        if numbers := list(self._newly_delivered()):
            yield pb.FromAgent(delivered=pb.Delivered(gathers=numbers))
        if reduces := self.triggers.reduces_due():
            yield pb.FromAgent(reduces=pb.Reduces(reduces=reduces))
        if self._heartbeat_due:
            self._heartbeat_due = False
            yield pb.FromAgent(heartbeat=pb.Heartbeat(watching=len(self.watching)))
            if self._cleared:
                ids, self._cleared = b"".join(self._cleared), {}
                yield pb.FromAgent(cleared=pb.Cleared(trace_ids=ids))
        while self._answers:
            yield self._answers.pop(0)

    def _newly_delivered(self) -> Iterator[int]:
        now = self._mono_s()
        while self._delivered:
            number, (due_s, watched) = next(iter(self._delivered.items()))
            if due_s > now:
                return
            del self._delivered[number]
            if not watched.release_s and not watched.undelivered and not watched.delivered_told:
                watched.delivered_told = True
                yield number
