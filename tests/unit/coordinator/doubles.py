"""Hosts in memory: what segments hold is known, and the agents that read them run the real logic."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wbpf.agent import AgentSpec
from wbpf.agent.conversation import Conversation
from wbpf.collector.intake import Intake
from wbpf.coordinator.hosts import Host
from wbpf.coordinator.outbox import Outbox
from wbpf.recorder import Fired, Piece
from wbpf.records import Calibration, host_id
from wbpf.wire import gather_pb2 as pb

if TYPE_CHECKING:
    from tests.unit.coordinator.simulated import Cluster

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
