"""A cluster without processes or sockets: the real logic of the daemons, over segments and a wire of lists.

Every message can be held back, every daemon can be killed between two messages, and the truth is known: what
each trace wrote, and where.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from wbpf.agent import AgentSpec, TriggerLimit
from wbpf.agent.conversation import Conversation
from wbpf.collector.intake import Intake, take_conclusion, take_needs
from wbpf.collector.verdicts import Verdicts
from wbpf.coordinator import AdmissionSpec, Coordination, CoordinatorSpec
from wbpf.coordinator.endings import ToStore
from wbpf.coordinator.hosts import Host
from wbpf.coordinator.outbox import Outbox
from wbpf.coordinator.storing import to_wire
from wbpf.errors import StoreError
from wbpf.recorder import Fired, Piece
from wbpf.records import Calibration, Conclusion, Status, Trace, host_id
from wbpf.records import Piece as StoredPiece
from wbpf.records.layout import BEGIN_PAYLOAD, RECORD_HEADER, STAMPED, Direction, Kind, Verb
from wbpf.wire import gather_pb2 as pb

EPOCH_NS = 1_760_000_000_000_000_000


@dataclass
class Written:
    """One record in a segment."""

    trace_id: bytes
    data: bytes
    process: int
    begins: int = 0
    ends: int = 0
    crumbs: list[tuple[int, int, int]] = field(default_factory=list)


class Ids:
    """What a watch holds."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        self.fresh: set[bytes] = set()

    def add(self, ids: Iterable[bytes]) -> None:
        for trace_id in ids:
            if trace_id not in self.known:
                self.known.add(trace_id)
                self.fresh.add(trace_id)

    def remove(self, ids: Iterable[bytes]) -> None:
        for trace_id in ids:
            self.known.discard(trace_id)
            self.fresh.discard(trace_id)


class SegmentDouble:
    """A segment's memory: it outlives agents."""

    def __init__(self, host: HostDouble) -> None:
        self.host = host
        self.segment_id = host_id(host.name) ^ 0x5E6
        self.service, self.ticks_hz, self.clock_kind = "svc", 1_000_000_000, 3
        self.log: list[Written] = []
        self.recycled = 0
        self.lost_ticks = 0
        self.slots: dict[int, tuple[bool, Fired]] = {}
        self.next_slot = 0
        self.dead: set[int] = set()
        self.levels: dict[bytes, int] = {}
        self.level = 0
        self.cleared: list[bytes] = []

    def recycle(self) -> None:
        """Everything that was written until now is overwritten."""
        self.recycled, self.lost_ticks = len(self.log), self.host.unix_ns()

    def set_trace_level(self, trace_id: bytes, level: int) -> None:
        self.levels[trace_id] = level

    def set_level(self, level: int) -> None:
        self.level = level

    def clear(self, trace_ids: Iterable[bytes]) -> int:
        self.cleared.extend(trace_ids)
        return 1


class AttachedDouble:
    """What `wbpf.agent.segments.Attached` is to an agent, over a SegmentDouble."""

    def __init__(self, segment: SegmentDouble) -> None:
        self.segment = segment
        self.is_recovered = False
        self.segment_id = segment.segment_id
        self.watch = Ids()
        self.read_to = 0
        self.polled_ticks = 0
        self.descriptors = {1: "work n:u64", 7: "slow", 8: "heavy", 9: "light"}
        self.clock_error_ns = 100
        self.told_cleared: list[bytes] = []

    def take_triggers(self, again: bool) -> list[Fired]:
        taken = []
        for number, (was_taken, fired) in self.segment.slots.items():
            if again or not was_taken:
                self.segment.slots[number] = True, fired
                taken.append(fired)
        return taken

    def ack_trigger(self, slot: int, token: int) -> None:
        taken, _ = self.segment.slots.pop(slot)
        assert taken and token == slot

    def cleared(self) -> list[bytes]:
        told, self.told_cleared = self.told_cleared, []
        return told

    def name_of(self, schema_id: int) -> str:
        return self.descriptors[schema_id].partition(" ")[0]

    def read_schemas(self) -> None: ...

    def calibrate(self) -> None: ...

    def now_ticks(self) -> int:
        return segment_ticks(self.segment)

    def unix_ns(self, ticks: int) -> int:
        return ticks

    def calibrations_around(self, ticks: int) -> list[Calibration]:
        return [Calibration(EPOCH_NS + n, n, EPOCH_NS + n, 100) for n in (1, 2)]

    def process(self, index: int, now_s: float) -> tuple[int, int, str, bool]:
        return 1, 1000 + index, "app", index not in self.segment.dead

    def poll(self) -> tuple[list[Piece], int, int]:
        began, segment = segment_ticks(self.segment), self.segment
        pieces = []
        for unit, record in enumerate(segment.log):
            if unit < segment.recycled or record.trace_id not in self.watch.known:
                continue
            if record.trace_id in self.watch.fresh or unit >= self.read_to:
                pieces.append(piece_of(unit, record))
        self.watch.fresh.clear()
        self.read_to = len(segment.log)
        before, self.polled_ticks = self.polled_ticks, began
        return pieces, segment.lost_ticks, before


def segment_ticks(segment: SegmentDouble) -> int:
    return segment.host.unix_ns()


def piece_of(unit: int, record: Written) -> Piece:
    return Piece(
        record.trace_id,
        unit // 1000,
        0,
        8 * (unit % 1000),
        record.process,
        77,
        1,
        record.begins,
        record.ends,
        True,
        False,
        record.data,
        record.crumbs,
        [],
    )


class Folder:
    """The segments of one host, as its agent sees them."""

    def __init__(self, segment: SegmentDouble) -> None:
        self._attached = [AttachedDouble(segment)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._attached)

    def each(self, work: Callable[[Any], None]) -> None:
        for attached in self._attached:
            work(attached)


class HostDouble:
    """A host: its clock and segment, and its agent while one runs."""

    def __init__(self, cluster: Cluster, name: str, skew_ns: int) -> None:
        self.cluster = cluster
        self.name = name
        self.host_id = host_id(name)
        self.skew_ns = skew_ns
        self.incarnation = 1
        self.started_unix_ns = self.unix_ns()
        self.segment = SegmentDouble(self)
        self.agents = 0
        self.agent: Conversation | None = None
        self.host: Host | None = None
        self.outbox: Outbox | None = None
        self.welcomed = False
        self.up: deque[pb.FromAgent] = deque()
        self.down: deque[pb.ToAgent] = deque()
        self.shipped: deque[pb.Delivery] = deque()
        self.acks: deque[int] = deque()
        self.intake = Intake({})
        self.received = 0

    def unix_ns(self) -> int:
        return self.cluster.unix_ns() + self.skew_ns

    def open_folder(self) -> Any:
        """The segments, for a new agent."""
        return Folder(self.segment)

    def start_agent(self) -> None:
        self.kill_agent()
        self.agents += 1
        agent_id = self.host_id % 1000 * 1000 + self.agents
        facts = pb.HostFacts(
            name=self.name, host_id=self.host_id, incarnation=self.incarnation, agent=agent_id
        )
        folder = self.open_folder()
        self.agent = Conversation(
            AgentSpec(host=self.name, limits=self.cluster.limits),
            facts,
            agent_id,
            self.started_unix_ns,
            folder,
            self.cluster.mono_s,
            lambda: None,
            lambda: None,
        )
        folder.each(self.agent.attached)
        self.connect_collector()

    def kill_agent(self) -> None:
        self.agent = None
        self.disconnect()
        self.shipped.clear()
        self.acks.clear()

    def disconnect(self) -> None:
        """The stream to the coordinator breaks: what is under way is lost."""
        if self.host is not None and self.outbox is not None:
            self.cluster.coordination.detach(self.host, self.outbox)
        self.host = self.outbox = None
        self.welcomed = False
        self.up.clear()
        self.down.clear()

    def connect(self) -> None:
        assert self.agent is not None
        self.disconnect()
        self.host = self.cluster.coordination.attach(self.agent.hello(), self.name, lambda: None)
        self.outbox = self.host.outbox
        self.ping()

    def ping(self) -> None:
        """The coordinator compares clocks."""
        assert self.host is not None
        now = self.cluster.mono_s()
        t0, t1 = self.cluster.unix_ns(), self.unix_ns()
        self.host.clock.add(now, t0 - 50_000, t1, t1, t0 + 50_000)

    def connect_collector(self) -> None:
        """A new stream to the collector: what was not acknowledged is sent again."""
        assert self.agent is not None
        self.shipped.clear()
        self.acks.clear()
        self.intake, self.received = Intake(self.cluster.owners, self.cluster.pools), 0
        self.agent.delivery.connected()


class EmptyStore:
    """What the collector looks into for a conclusion that it does not remember."""

    def trace(self, trace_id: bytes) -> Trace:
        raise StoreError(f"no trace {trace_id.hex()}")


class Cluster:
    """Hosts, a coordinator and a collector, and the wire between them."""

    def __init__(
        self,
        names: str,
        rng: random.Random,
        spec: CoordinatorSpec | None = None,
        make_host: Callable[[Cluster, str, int], HostDouble] | None = None,
    ) -> None:
        self.rng = rng
        # Time jumps here; that is no sign of overload.
        self.spec = spec or CoordinatorSpec(admission=AdmissionSpec(lag_s=1e9))
        self.now_s = 100.0
        self.limits: dict[str, TriggerLimit] = {}
        self.owners: dict[int, int] = {}
        self.pools: dict[int, int] = {}
        self.sessions = 0
        make_host = make_host or HostDouble
        self.hosts = {name: make_host(self, name, rng.randrange(-50, 50) * 1_000_000) for name in names}
        self.concluding: list[tuple[int, ToStore]] = []
        self.reached: dict[tuple[int, int], int] = {}
        self.stored: dict[bytes, Conclusion] = {}
        self.verdicts = Verdicts(EmptyStore())
        self.pieces: dict[bytes, set[tuple[str, int]]] = {}
        self._acts = (
            self.agent_speaks,
            self.coordinator_hears,
            self.coordinator_speaks,
            self.agent_hears,
            self.agent_looks,
            self.agent_ships,
            self.collector_takes,
            self.agent_is_acknowledged,
        )
        self.start_coordinator()
        self.now_s += 10
        for host in self.hosts.values():
            host.start_agent()

    def mono_s(self) -> float:
        return self.now_s

    def unix_ns(self) -> int:
        return EPOCH_NS + int(self.now_s * 1e9)

    def start_coordinator(self) -> None:
        """Kill the coordinator, if there is one, and start another."""
        for host in self.hosts.values():
            host.up.clear()
            host.down.clear()
            host.host = host.outbox = None
            host.welcomed = False
        self.concluding.clear()
        self.sessions += 1
        self.coordination = Coordination(self.spec, self, self.sessions)

    # ---- what can happen next: each returns False if there was nothing to do ----

    def agent_speaks(self, host: HostDouble) -> bool:
        """The agent puts what it has to say on the wire."""
        if host.agent is None or not host.welcomed:
            return False
        messages = list(host.agent.messages())
        host.up.extend(messages)
        return bool(messages)

    def coordinator_hears(self, host: HostDouble) -> bool:
        if not host.up or host.host is None:
            return False
        message = host.up.popleft()
        body, gathers = message.WhichOneof("body"), self.coordination
        gathers.heard(host.host)
        if body == "fires":
            for fire in message.fires.fires:
                gathers.firing.fire(host.host, fire)
        elif body == "founds":
            for found in message.founds.found:
                gathers.found(host.host, found)
        elif body == "delivered":
            gathers.delivered(host.host, message.delivered.gathers)
        elif body == "reduces":
            for reduce in message.reduces.reduces:
                gathers.levels.change(reduce.trace_id, reduce.level)
                assert host.outbox is not None
                host.outbox.done(reduce.fire_id)
        elif body == "cleared":
            gathers.clear([message.cleared.trace_ids], host.host)
        return True

    def coordinator_speaks(self, host: HostDouble) -> bool:
        if host.outbox is None:
            return False
        messages = host.outbox.drain()
        host.down.extend(pb.ToAgent.FromString(message.SerializeToString()) for message in messages)
        return bool(messages)

    def agent_hears(self, host: HostDouble) -> bool:
        if not host.down or host.agent is None:
            return False
        message = host.down.popleft()
        if message.WhichOneof("body") == "welcome":
            host.agent.welcomed(message.welcome)
            host.welcomed = True
        else:
            host.agent.handle(message)
        return True

    def agent_looks(self, host: HostDouble) -> bool:
        if host.agent is None:
            return False
        watching = host.agent.watching
        due = watching.next_poll_s(self.now_s)
        if due is None or due > self.now_s:
            return False
        watching.poll(self.now_s)
        return True

    def agent_ships(self, host: HostDouble) -> bool:
        if host.agent is None:
            return False
        message = host.agent.delivery.next_message(self.now_s)
        if message is None:
            return False
        host.shipped.append(pb.Delivery.FromString(message.SerializeToString()))
        return True

    def collector_takes(self, host: HostDouble) -> bool:
        if not host.shipped:
            return False
        arrived = host.intake.take(host.shipped.popleft())
        host.received += 1
        assert arrived.deliverer is not None
        self.reached[arrived.deliverer] = max(arrived.upto, self.reached.get(arrived.deliverer, 0))
        for piece in arrived.pieces:
            self.take_piece(host, piece)
        host.acks.append(host.received)
        return True

    def take_piece(self, host: HostDouble, piece: StoredPiece) -> None:
        unit = 1000 * piece.chunk + piece.start_unit // 8
        self.pieces.setdefault(piece.trace_id, set()).add((host.name, unit))

    def agent_is_acknowledged(self, host: HostDouble) -> bool:
        if not host.acks or host.agent is None:
            return False
        host.agent.delivery.acknowledge(host.acks.popleft())
        return True

    def coordinator_concludes(self) -> bool:
        waiting = self.coordination.endings.to_store
        if not waiting:
            return False
        number = next(iter(waiting))
        self.concluding = [item for item in self.concluding if item[0] != number]  # the later one counts
        self.concluding.append((number, waiting.pop(number)))
        return True

    def collector_concludes(self) -> bool:
        for item in self.concluding:
            number, (version, concluded, needs) = item
            wire = pb.WireConclusion.FromString(to_wire(concluded, needs).SerializeToString())
            if all(self.reached.get(who, 0) >= upto for who, upto in take_needs(wire).items()):
                self.concluding.remove(item)
                break
        else:
            return False
        conclusion = take_conclusion(wire)
        chosen = self.verdicts.choose(conclusion)
        if chosen is not None:
            self.stored[chosen.trace_id] = chosen
            self.verdicts.note(chosen)
            self.check(chosen)
        self.coordination.endings.stored(number, version)
        return True

    def check(self, conclusion: Conclusion) -> None:
        """Never complete when something is missing."""
        if conclusion.status is Status.COMPLETE:
            missing = self.truth(conclusion.trace_id) - self.pieces.get(conclusion.trace_id, set())
            assert not missing, f"said to be complete, but {sorted(missing)} are missing"

    def truth(self, trace_id: bytes) -> set[tuple[str, int]]:
        """All that was ever written for a trace."""
        return {
            (host.name, unit)
            for host in self.hosts.values()
            for unit, record in enumerate(host.segment.log)
            if record.trace_id == trace_id
        }

    def something(self) -> bool:
        """Do one of the things that can happen, chosen by chance."""
        acts: list[Callable[[], bool]] = [self.coordinator_concludes, self.collector_concludes]
        for host in self.hosts.values():
            acts += [partial(act, host) for act in self._acts]
        self.rng.shuffle(acts)
        return any(act() for act in acts)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        for host in self.hosts.values():
            if host.agent is not None:
                host.agent.rung()
                if self.rng.random() < 0.1:
                    host.agent.round()
            if host.host is not None:
                self.coordination.heard(host.host)
        self.coordination.tick()

    def settle(self, seconds: float, step_s: float = 0.02) -> None:
        """Let everything that can happen do so, while time passes."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            while self.something():
                pass
            self.pass_time(step_s)

    # ---- the application ----

    def write(
        self,
        host: HostDouble,
        trace_id: bytes,
        kind: Kind,
        span: int = 0,
        parent: int = 0,
        start_unix_ns: int = 0,
        crumb: tuple[int, int, int] | None = None,
        process: int = 0,
    ) -> None:
        """Append a record."""
        payload = BEGIN_PAYLOAD.pack(span, parent, start_unix_ns) if kind is Kind.BEGIN else b""
        size = RECORD_HEADER.size + 8 + len(payload)
        data = RECORD_HEADER.pack(size, kind | STAMPED, 9, 1) + host.unix_ns().to_bytes(8, "little") + payload
        host.segment.log.append(
            Written(trace_id, data, process, kind is Kind.BEGIN, kind is Kind.END, [crumb] if crumb else [])
        )

    def fire(
        self,
        host: HostDouble,
        trace_id: bytes,
        start_unix_ns: int,
        laterals: Iterable[bytes] = (),
        trigger_id: int = 7,
    ) -> None:
        """A trigger fires: its slot is there until the agent frees it."""
        segment = host.segment
        slot, segment.next_slot = segment.next_slot, segment.next_slot + 1
        ticks = host.unix_ns()
        fired = Fired(
            slot, slot, Verb.DUMP, trigger_id, trace_id, start_unix_ns, 1.5, ticks, 0, list(laterals)
        )
        segment.slots[slot] = False, fired

    def crumb(self, direction: Direction, peer: HostDouble | None, edge: int) -> tuple[int, int, int]:
        return direction, peer.host_id if peer else 0, edge
