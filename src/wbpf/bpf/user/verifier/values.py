"""What a register or a slot of the stack can hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from wbpf.bpf.user.verifier import ranges
from wbpf.bpf.user.verifier.ranges import Range


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
        of: which: frame of the stack, slot of the map, entry of the function, else the place it came from.
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


def contains(a: Value, b: Value) -> bool:
    """Whether whatever is right for `a` is right for `b` as well."""
    if a is b or isinstance(a, Unset):
        return True
    if isinstance(a, Range):
        return isinstance(b, Range) and a.contains(b)
    if not isinstance(b, Pointer):
        return False
    return (
        a.kind is b.kind
        and a.of == b.of
        and a.bytes == b.bytes
        and a.token == b.token
        and a.writable == b.writable
        and a.found == b.found
        and (a.nullable == b.nullable or (a.nullable > 0 and not b.nullable))
        and a.offset.contains(b.offset)
    )


def join(a: Value, b: Value) -> Value:
    """What holds for both."""
    if contains(a, b):
        return a
    if contains(b, a):
        return b
    if isinstance(a, Range) and isinstance(b, Range):
        return ranges.join(a, b)
    if isinstance(a, Pointer) and isinstance(b, Pointer):
        same = replace(b, offset=a.offset, nullable=a.nullable)
        if same == a and (a.nullable == b.nullable or not (a.nullable and b.nullable)):
            return replace(a, offset=ranges.join(a.offset, b.offset), nullable=a.nullable or b.nullable)
    return UNSET
