"""The state of a program before one of its instructions, as far as it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.names import Join, Match
from wbpf.bpf.user.verifier.ranges import UNKNOWN, Range, known, of_bits
from wbpf.bpf.user.verifier.values import NULLS, UNSET, Kind, Pointer, Unset, Value

PACKETS = (Kind.PACKET, Kind.PACKET_END, Kind.PACKET_META)


def caller_of(back: int) -> int:
    """Which instruction calls the helper, by `Frame.back` of the helper's callback; and the reverse."""
    return -2 - back


class Frame:
    """Registers and stack of one call.

    Args:
        entry: of the function.
        back: index of the instruction after the call; -1: the program's own frame; below: of a callback, for
            which the helper is called at `caller_of(back)`.
    """

    __slots__ = ("back", "entry", "registers", "slots", "tokens", "written")

    def __init__(self, entry: int, back: int) -> None:
        self.entry, self.back = entry, back
        self.registers: list[Value] = [UNSET] * 10
        #: what is known of what was stored: offset from the frame's low end -> (bytes, value)
        self.slots: dict[int, tuple[int, Value]] = {}
        #: a bit for each byte of the stack that was written
        self.written = 0
        #: of a callback: what was reserved when it was called
        self.tokens: frozenset[int] = frozenset()

    def copy(self) -> Frame:
        other = Frame(self.entry, self.back)
        other.tokens = self.tokens
        other.registers = self.registers.copy()
        other.slots = self.slots.copy()
        other.written = self.written
        return other

    def contains(self, other: Frame, match: Match) -> bool:
        if self.written & ~other.written:
            return False
        for mine, its in zip(self.registers, other.registers, strict=True):
            if not match.contains(mine, its):
                return False
        for at, (size, value) in self.slots.items():
            its_size, its = other.slots.get(at, (0, UNSET))
            if its_size != size or not match.contains(value, its):
                return False
        return True

    def pairs(self, other: Frame) -> Iterator[tuple[Value, Value]]:
        """What both have in the same places."""
        yield from zip(self.registers, other.registers, strict=True)
        for at, (size, value) in self.slots.items():
            if at in other.slots and other.slots[at][0] == size:
                yield value, other.slots[at][1]

    def joined(self, other: Frame, join: Join) -> Frame:
        made = Frame(self.entry, self.back)
        made.tokens = self.tokens
        made.registers = [join.value(a, b) for a, b in zip(self.registers, other.registers, strict=True)]
        made.written = self.written & other.written
        for at, (size, value) in self.slots.items():
            if at in other.slots and other.slots[at][0] == size:
                both = join.value(value, other.slots[at][1])
                if not isinstance(both, Unset):
                    made.slots[at] = (size, both)
        return made

    # ---- the stack; places count from its low end ----

    def write(self, at: int, size: int, value: Value) -> None:
        self.forget(at, size)
        if size == 8 or isinstance(value, Range):
            self.slots[at] = (size, value)
        self.written |= ((1 << size) - 1) << at

    def forget(self, at: int, size: int) -> None:
        """What was stored there is no longer known."""
        for place in range(max(at - 7, 0), at + size):
            entry = self.slots.get(place)
            if entry and place + entry[0] > at:
                del self.slots[place]

    def unwritten(self, at: int, size: int) -> int:
        """A bit for each byte there that may not have been written."""
        return ((1 << size) - 1) << at & ~self.written

    def read(self, at: int, size: int) -> Value:
        entry = self.slots.get(at)
        if entry and entry[0] == size:
            return entry[1]
        # Parts of what was stored, as far as it is known.
        value, place = known(0), at
        while place < at + size:
            start = next((n for n in range(place, place - 8, -1) if n in self.slots), place)
            width, stored = self.slots.get(start, (0, UNSET))
            if start + width <= place or not isinstance(stored, Range):
                return of_bits(8 * size)
            count = min(start + width, at + size) - place
            part = ranges.truncate(ranges.shift_right(stored, known(8 * (place - start)), 64), 8 * count)
            part = ranges.shift_left(part, known(8 * (place - at)), 64) if place > at else part
            value = ranges.either(value, part) if place > at else part
            place += count
        return value


class State:
    """All frames, and what is known about more than one value.

    Args:
        at: index of the next instruction.
    """

    __slots__ = ("at", "frames", "parent", "room", "tokens")

    def __init__(self, at: int) -> None:
        self.at = at
        self.frames: list[Frame] = []
        #: the last one that was kept on the way here
        self.parent: State | None = None
        #: bytes of the packet that are surely there behind an origin: `Pointer.of` -> bytes
        self.room: dict[int, int] = {}
        self.tokens: frozenset[int] = frozenset()

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    @property
    def holds_lock(self) -> bool:
        """Whether a bpf_spin_lock is held: its token is negative."""
        return any(token < 0 for token in self.tokens)

    @property
    def chain(self) -> tuple[int, ...]:
        """Which calls led here."""
        return tuple(frame.back for frame in self.frames)

    def copy(self) -> State:
        other = State(self.at)
        other.frames = [frame.copy() for frame in self.frames]
        other.room = self.room.copy()
        other.tokens = self.tokens
        other.parent = self.parent
        return other

    def comes_from(self, other: State) -> bool:
        """Whether it is on a way that went through a state that was kept."""
        at = self.parent
        while at is not None:
            if at is other:
                return True
            at = at.parent
        return False

    def contains(self, other: State) -> bool:
        match = Match()
        return (
            self.keeps_as(other)
            and all(a.contains(b, match) for a, b in zip(self.frames, other.frames, strict=True))
            and match.has_room(self.room, other.room)
        )

    def keeps_as(self, other: State) -> bool:
        """Whether the same is reserved, and was where callbacks began."""
        return self.tokens == other.tokens and all(
            a.tokens == b.tokens for a, b in zip(self.frames, other.frames, strict=True)
        )

    def joined(self, other: State) -> State:
        made = State(self.at)
        frames = list(zip(self.frames, other.frames, strict=True))
        join = Join(pair for a, b in frames for pair in a.pairs(b))
        made.frames = [a.joined(b, join) for a, b in frames]
        made.room = join.room(self.room, other.room)
        made.tokens = self.tokens
        return made

    def get(self, register: int) -> Value:
        if register == 10:
            return Pointer(Kind.STACK, len(self.frames) - 1, known(0))
        return self.frame.registers[register]

    def pointers(self) -> Iterator[Pointer]:
        """All addresses in registers and on stacks."""
        for frame in self.frames:
            yield from (value for value in frame.registers if isinstance(value, Pointer))
            yield from (value for _, value in frame.slots.values() if isinstance(value, Pointer))

    def fresh_origin(self) -> int:
        """A number for a place in the packet, which none has yet."""
        used = {p.of for p in self.pointers() if p.kind is Kind.PACKET}
        of = next(n for n in count(1) if n not in used)
        self.room.pop(of, None)
        return of

    def fresh_null(self) -> int:
        """A number for a result that may be 0, which none has yet."""
        used = {p.nullable for p in self.pointers()}
        return next(n for n in count(NULLS) if n not in used)

    def settle_null(self, number: int, *, null: bool) -> None:
        """Addresses that could be 0 together turned out to be, or not to be."""

        def settled(p: Pointer) -> Value:
            if p.nullable != number:
                return p
            return known(0) if null else replace(p, nullable=0)

        self.map_pointers(settled)
        if null:
            self.tokens -= {number}

    def drop_token(self, token: int) -> None:
        self.tokens -= {token}
        self.map_pointers(lambda p: UNSET if p.token == token else p)

    def drop_packets(self) -> None:
        """The packet may have moved."""
        self.map_pointers(lambda p: UNKNOWN if p.kind in PACKETS else p)
        self.room.clear()

    def forget_stacks(self) -> None:
        """Something was stored nobody knows where."""
        for frame in self.frames:
            frame.slots.clear()

    def map_pointers(self, change: Callable[[Pointer], Value]) -> None:
        for frame in self.frames:
            registers = frame.registers
            for n, value in enumerate(registers):
                if isinstance(value, Pointer):
                    registers[n] = change(value)
            for at, (size, value) in list(frame.slots.items()):
                if isinstance(value, Pointer):
                    frame.slots[at] = (size, change(value))
