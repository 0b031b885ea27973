"""What a register or a slot of the stack can hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.ranges import Range

SOMEWHERE = -3  # `Pointer.of` of addresses in the packet that nothing is known of
NULLS = 1 << 32  # from here on `Pointer.nullable` counts calls; below are the places of calls


class Kind(Enum):
    """What an address points to."""

    STACK = "the stack"
    CONTEXT = "the context"
    MAP = "a map"
    VALUE = "a value of a map"
    MEMORY = "memory"
    PACKET = "the packet"
    PACKET_END = "the packet's end"
    PACKET_META = "what goes before the packet"
    FUNCTION = "a function"
    DYNPTR = "a dynptr"


@dataclass(frozen=True, slots=True)
class Pointer:
    """An address.

    Args:
        kind: of what it points to.
        of: which: frame of the stack, slot of the map, entry of the function, origin in the packet (0: its
            beginning, else the state's number of it), else the place it came from.
        offset: what was added to it.
        bytes: of the object, where that is known.
        nullable: it may be 0 instead; addresses with the same number (above 0) are so together.
        token: what has to be given back before the program ends; 0: nothing.
        found: the call that gave this value of a map that has locks, which tells its lock from others';
            0: none did, -1: it is not known.
    """

    kind: Kind
    of: int
    offset: Range
    bytes: int = 0
    nullable: int = 0
    token: int = 0
    writable: bool = True
    found: int = 0

    def moved(self, by: Range) -> Pointer:
        return replace(self, offset=ranges.add(self.offset, by))

    def __str__(self) -> str:
        where = f"{self.kind.value} at {self.offset}"
        return f"{where}, or 0" if self.nullable else where


class Unset:
    """Nothing was written yet, or what may not be read."""

    def __str__(self) -> str:
        return "nothing"


UNSET = Unset()
Value = Range | Pointer | Unset
