"""From the segments' trigger slots to the coordinator, and back: each trigger is told until it is settled."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from functools import partial

from wbpf.agent.queues import Fire, TriggerQueues
from wbpf.agent.segments import Attached
from wbpf.agent.spec import AgentSpec
from wbpf.recorder import Fired
from wbpf.records.layout import Verb
from wbpf.wire import gather_pb2 as pb

#: Triggers sent and not yet answered: the rest waits in the queues, each name in its own.
UNANSWERED_MOST = 256
#: Triggers held in one segment's slots (it has 256) and in all. What is beyond keeps no slot, so that others
#: can fire; it would be lost with this agent.
SLOTS_MOST = 128
HELD_MOST = 8192


def fire_id(segment_id: int, fired: Fired) -> int:
    """Name a trigger, the same for every agent that reads it from its slot, and for no other trigger."""
    text = struct.pack("<QIQQ", segment_id, fired.slot, fired.token, fired.ticks) + fired.trace_id
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Triggers:
    """All triggers of a host that are not settled."""

    def __init__(self, spec: AgentSpec) -> None:
        self._spec = spec
        self.queues = TriggerQueues(spec.limit, spec.queue_most)
        self._held: dict[int, Fire] = {}
        self._in_slots: dict[int, dict[int, Fire]] = {}
        self._unanswered: dict[int, Fire] = {}
        self._told: dict[int, Fire] = {}
        self._reduces: dict[int, tuple[pb.Reduce, Fire]] = {}
        self._reduces_due: dict[int, pb.Reduce] = {}

    def read(self, segment: Attached, now_s: float, again: bool = False) -> bool:
        """Take what has fired in a segment; True if something is to be sent."""
        news = False
        for fired in segment.take_triggers(again):
            number = fire_id(segment.segment_id, fired)
            if number in self._held or number in self._reduces:
                continue
            free = partial(segment.ack_trigger, fired.slot, fired.token)
            if fired.verb == Verb.REDUCE:
                self._reduces_due[number] = pb.Reduce(
                    fire_id=number, trace_id=fired.trace_id, level=fired.level
                )
                name = "reduce"
            else:
                name = segment.name_of(fired.trigger_id)
            queue = self.queues.queue(name)
            fire = Fire(
                number,
                name,
                fired.trace_id,
                fired.start_unix_ns,
                segment.unix_ns(fired.ticks),
                fired.value,
                b"".join(fired.laterals),
                queue.limit.weight,
                free,
                queue,
            )
            if fired.verb == Verb.REDUCE:
                self._reduces[number] = self._reduces_due[number], fire
                news = True
            elif len(self._held) < HELD_MOST and self.queues.offer(fire, now_s, again):
                self._hold(segment, fire)
                news = True
            else:
                queue.overflowed += len(self._held) >= HELD_MOST
                fire.release_slot()
        return news

    def _hold(self, segment: Attached, fire: Fire) -> None:
        self._held[fire.fire_id] = fire
        slots = self._in_slots.setdefault(segment.segment_id, {})
        slots[fire.fire_id] = fire
        while len(slots) > SLOTS_MOST:
            slots.pop(next(iter(slots))).release_slot()

    def due(self) -> list[pb.Fire]:
        """What is to be sent now."""
        fires = []
        while len(self._unanswered) < UNANSWERED_MOST and (fire := self.queues.take()) is not None:
            self._unanswered[fire.fire_id] = fire
            fires.append(fire)
        return [
            pb.Fire(
                fire_id=fire.fire_id,
                trace_id=fire.trace_id,
                start_unix_ns=fire.start_unix_ns,
                fired_unix_ns=fire.fired_unix_ns,
                trigger=fire.trigger,
                value=fire.value,
                laterals=fire.laterals,
                weight=0.0 if fire.weight == 1 else fire.weight,
            )
            for fire in fires
        ]

    def reduces_due(self) -> list[pb.Reduce]:
        due, self._reduces_due = list(self._reduces_due.values()), {}
        return due

    def reconnected(self) -> None:
        """A coordinator is there, perhaps another one: tell it all that is not settled."""
        told = [*self._told.values(), *self._unanswered.values()]
        self._told.clear()
        self._unanswered.clear()
        for fire in reversed(told):
            self.queues.put_back(fire)
        self._reduces_due = {number: reduce for number, (reduce, _) in self._reduces.items()}

    def admitted(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            fire = self._unanswered.pop(number, None)
            if fire is not None:
                self._told[number] = fire
                if not fire.admitted:
                    fire.admitted = True
                    fire.queue.admitted += 1

    def refused(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if (fire := self._settle(number)) is not None:
                fire.queue.refused += 1

    def settled(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._settle(number)

    def done(self, numbers: Iterable[int]) -> None:
        """Every host was told of these reductions."""
        for number in numbers:
            if (item := self._reduces.pop(number, None)) is not None:
                item[1].release_slot()

    def _settle(self, number: int) -> Fire | None:
        fire = self._unanswered.pop(number, None) or self._told.pop(number, None)
        if fire is None:
            return None
        fire.queue.open -= 1
        del self._held[number]
        for slots in self._in_slots.values():
            slots.pop(number, None)
        fire.release_slot()
        return fire
