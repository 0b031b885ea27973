"""A cluster without processes or sockets: the real logic of the daemons, over segments and a wire of lists.

Every message can be held back, every daemon can be killed between two messages, and the truth is known: what
each trace wrote, and where.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial

from tests.unit.coordinator.doubles import EPOCH_NS, HostDouble, Written
from wbpf.agent import TriggerLimit
from wbpf.collector.intake import take_conclusion, take_needs
from wbpf.collector.verdicts import Verdicts
from wbpf.coordinator import AdmissionSpec, Coordination, CoordinatorSpec
from wbpf.coordinator.endings import ToStore
from wbpf.coordinator.storing import to_wire
from wbpf.errors import StoreError
from wbpf.recorder import Fired
from wbpf.records import Conclusion, Status, Trace
from wbpf.records import Piece as StoredPiece
from wbpf.records.layout import BEGIN_PAYLOAD, RECORD_HEADER, STAMPED, Direction, Kind, Verb
from wbpf.wire import gather_pb2 as pb


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
