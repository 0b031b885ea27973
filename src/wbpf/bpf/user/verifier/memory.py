"""Whether a load or a store is right, and what it gives or leaves behind."""

from __future__ import annotations

from wbpf.bpf.user.isa import STACK_BYTES
from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.callbacks import Callbacks
from wbpf.bpf.user.verifier.models import Context, Field, MapModel
from wbpf.bpf.user.verifier.ranges import UNKNOWN, Range, known, of_bits
from wbpf.bpf.user.verifier.state import State
from wbpf.bpf.user.verifier.values import UNSET, Kind, Pointer, Unset, Value

LOCK_BYTES = 4
FAR = 1 << 30  # farther no address is moved
META = -2  # `Pointer.of` of addresses of what goes before the packet
_NO_MEMORY = (Kind.MAP, Kind.FUNCTION, Kind.PACKET_END, Kind.DYNPTR)
_ADDRESSES = {
    Field.PACKET: (Kind.PACKET, 0),
    Field.PACKET_END: (Kind.PACKET_END, 0),
    Field.PACKET_META: (Kind.PACKET_META, META),
}


class Surroundings:
    """What the accesses of one program are judged by."""

    def __init__(self, context: Context, maps: list[MapModel], callbacks: Callbacks) -> None:
        self.context, self.maps, self.callbacks = context, maps, callbacks
        #: bytes of frames that are read although they may not have been written: a bit for each, by function
        self.zeroed: dict[int, int] = {}

    def extent(self, state: State, pointer: Pointer) -> tuple[int, int]:
        """Where the object that an address points to begins and ends, from the address's origin."""
        match pointer.kind:
            case Kind.STACK:
                return -STACK_BYTES, 0
            case Kind.VALUE | Kind.MEMORY:
                return 0, pointer.bytes
            case Kind.CONTEXT:
                return 0, self.context.bytes
            case Kind.PACKET | Kind.PACKET_META:
                return 0, state.room.get(pointer.of, 0)
        return 0, 0

    def problem(self, state: State, base: Value, off: int, size: int, *, write: bool) -> str:
        """Why bytes may not be used; empty if they may. Whether they were written is not looked at."""
        if isinstance(base, Range):
            return f"it uses {base} as an address"
        if isinstance(base, Unset):
            return "it uses what was never set as an address"
        if base.nullable:
            return f"its address is {base}: compare it with 0 before"
        if base.kind in _NO_MEMORY:
            return f"{base.kind.value} is not memory"
        if write and not base.writable:
            return f"{base.kind.value} can't be written"
        low, high = base.offset.slow + off, base.offset.shigh + off + size
        begin, end = self.extent(state, base)
        if low < begin or high > end:
            where = f"{low}" if base.offset.is_known else f"{low}..{high - size}"
            room = f"{begin}..{end}" if end > begin else "none that is known to be there"
            if base.kind is Kind.PACKET_META:
                return f"bytes {low}..{high} before the packet may not be there: compare with its beginning"
            if base.kind is Kind.PACKET:
                return f"bytes {low}..{high} of the packet may not be there: compare with its end before"
            return f"{size} bytes at {where} are outside of {base.kind.value}, whose bytes are {room}"
        if (
            base.kind is Kind.VALUE
            and 0 <= (lock := self.maps[base.of].lock) < high
            and low < lock + LOCK_BYTES
        ):
            return (
                f"bytes {lock}..{lock + LOCK_BYTES} of the value are a lock, which only bpf_spin_lock() uses"
            )
        return ""

    def load(self, state: State, base: Pointer, off: int, size: int, at: int) -> tuple[Value, str]:
        """What is read from a place that is all right, or why it may not be read."""
        bits = 8 * size
        if base.kind is Kind.STACK:
            frame = state.frames[base.of]
            low, high = base.offset.slow + off + STACK_BYTES, base.offset.shigh + off + STACK_BYTES
            if unwritten := frame.unwritten(low, high - low + size):
                self.zeroed[frame.entry] = self.zeroed.get(frame.entry, 0) | unwritten
            return (frame.read(low, size), "") if low == high else (of_bits(bits), "")
        if base.kind is Kind.CONTEXT and not self.context.memory:
            return self._load_field(base, off, size)
        if base.kind is Kind.VALUE and base.offset.is_known:
            constant = self.maps[base.of].constant
            place = base.offset.low + off
            if constant is not None and place + size <= len(constant):
                return known(int.from_bytes(constant[place : place + size], "little")), ""
        return of_bits(bits), ""

    def place(self, base: Value, off: int, size: int) -> int | None:
        """Where the address is that a load from the context gives, if it is one; see `Context.places`."""
        if not isinstance(base, Pointer) or base.kind is not Kind.CONTEXT or not base.offset.is_known:
            return None
        at = ranges.signed(base.offset.low) + off
        field = self.context.fields.get(at)
        return None if field is None or field[0] != size else self.context.places.get(at)

    def _load_field(self, base: Pointer, off: int, size: int) -> tuple[Value, str]:
        if not base.offset.is_known:
            return of_bits(8 * size), "the context is read at a place that is not known"
        place = ranges.signed(base.offset.low) + off
        for start, (width, what) in self.context.fields.items():
            if place + size <= start or place >= start + width:
                continue
            if what is Field.ABSENT:
                why = f"bytes {place}..{place + size} of the context are {what.value}"
                return of_bits(8 * size), why
            if (place, size) != (start, width):
                return of_bits(8 * size), f"bytes {place}..{place + size} cut through {what.value}"
            if what in _ADDRESSES:
                kind, of = _ADDRESSES[what]
                return Pointer(kind, of, known(0)), ""
        if place % size:
            return of_bits(8 * size), f"{size} bytes of the context at {place} are not aligned"
        return of_bits(8 * size), ""

    def store_problem(self, base: Pointer, off: int, size: int) -> str:
        """Why a store to the context is not right."""
        if base.kind is not Kind.CONTEXT or self.context.memory or self.context.writable is None:
            return ""
        place = ranges.signed(base.offset.low) + off
        if not base.offset.is_known or not self.context.writable.issuperset(range(place, place + size)):
            return f"bytes {place}..{place + size} of the context can't be written"
        return ""

    def store(self, state: State, base: Pointer, off: int, size: int, value: Value) -> None:
        """Leave a value where it is stored."""
        if base.kind is not Kind.STACK:
            return
        frame = state.frames[base.of]
        low, high = base.offset.slow + off + STACK_BYTES, base.offset.shigh + off + STACK_BYTES
        self.callbacks.note_write(state, base.of, low, high - low + size)
        if low == high:
            narrowed = ranges.truncate(value, 8 * size) if isinstance(value, Range) and size < 8 else value
            frame.write(low, size, narrowed)
        else:
            frame.forget(low, high - low + size)


def moved(pointer: Pointer, by: Range) -> Value:
    """An address to which something was added."""
    if pointer.nullable or pointer.kind in _NO_MEMORY:
        return UNKNOWN
    there = pointer.moved(by)
    if there.offset.slow < -FAR or there.offset.shigh > FAR:
        return UNSET
    return there
