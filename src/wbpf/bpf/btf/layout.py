"""Sizes, alignments and offsets of types, as a C compiler for 64-bit machines lays them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.types import (
    TRANSPARENT,
    Array,
    Composite,
    Enum,
    Float,
    Int,
    Kind,
    Member,
    Pointer,
    Referring,
)
from wbpf.errors import FormatError

POINTER_BYTES = 8
_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Field:
    """A member, with those of structs and unions without a name in their place.

    Args:
        type: its number in the BTF.
        bytes: of the type; a bit field has `bits` of them.
    """

    name: str
    type: int
    bit_offset: int
    bytes: int
    bits: int = 0

    @property
    def offset(self) -> int:
        """In bytes; a bit field starts somewhere in that byte."""
        return self.bit_offset // 8


def bytes_of(btf: Btf, type_id: int) -> int:
    """How large a value of a type is.

    Raises:
        FormatError: it has no size: void, a function, a struct that is only declared.
    """
    count = 1
    for _ in range(_DEPTH):
        one = btf[type_id]
        if isinstance(one, Int | Float | Composite | Enum):
            return count * one.bytes
        if isinstance(one, Pointer):
            return count * POINTER_BYTES
        if isinstance(one, Array):
            count *= one.count
            type_id = one.type
        elif isinstance(one, Referring) and one.kind in TRANSPARENT | {Kind.VAR}:
            type_id = one.type
        else:
            raise FormatError("the BTF is damaged", f"{one.kind.name.lower()} {one.name!r} has no size")
    raise FormatError("the BTF is damaged", f"type {type_id} is in over {_DEPTH} arrays and typedefs")


def struct_layout(btf: Btf, type_id: int) -> list[Field]:
    """The fields of a struct or union, by offset as declared."""
    return list(_fields(btf, type_id, 0, 0))


def _fields(btf: Btf, type_id: int, base: int, depth: int) -> Iterator[Field]:
    one = btf.peel(type_id)
    if not isinstance(one, Composite):
        raise FormatError("the BTF is damaged", f"{one.name!r} is no struct or union")
    if depth > _DEPTH:
        raise FormatError("the BTF is damaged", f"type {type_id} contains itself")
    for member in one.members:
        if not member.name and btf[member.type].kind in (Kind.STRUCT, Kind.UNION):
            yield from _fields(btf, member.type, base + member.bit_offset, depth + 1)
        else:
            offset, bits = bits_of(btf, member)
            yield Field(member.name, member.type, base + offset, bytes_of(btf, member.type), bits)


def bits_of(btf: Btf, member: Member) -> tuple[int, int]:
    """A member's offset in bits; and how many bits it has if it is a bit field, else 0."""
    if member.bits:
        return member.bit_offset, member.bits
    one = btf.peel(member.type)
    if isinstance(one, Int) and (
        one.bit_offset or 0 < one.bits < 8 * one.bytes
    ):  # as it was before kernel 5.0
        return member.bit_offset + one.bit_offset, one.bits
    return member.bit_offset, 0


class Alignment:
    """The alignments that a compiler gives to types, and which structs must be packed for that."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._known: dict[int, tuple[int, bool]] = {}

    def of(self, type_id: int) -> int:
        """In bytes."""
        for _ in range(_DEPTH):
            one = self._btf[type_id]
            if isinstance(one, Composite):
                return self._composite(one)[0]
            if isinstance(one, Int | Float | Enum):
                return min(one.bytes, 16)
            if isinstance(one, Pointer):
                return POINTER_BYTES
            if not isinstance(one, Array | Referring):
                return 1
            type_id = one.type
        raise FormatError("the BTF is damaged", f"type {type_id} is in over {_DEPTH} arrays and typedefs")

    def packed(self, one: Composite) -> bool:
        """Whether its members are where they are only in a packed struct."""
        return self._composite(one)[1]

    def natural(self, member: Member, at: int) -> int:
        """The bit at which a compiler puts a member that comes behind bit `at`."""
        _, bits = bits_of(self._btf, member)
        unit = 8 * (bytes_of(self._btf, member.type) if bits else self.of(member.type))
        if bits and at // unit == (at + bits - 1) // unit:
            return at
        return -(-at // unit) * unit

    def _composite(self, one: Composite) -> tuple[int, bool]:
        known = self._known.get(one.id)
        if known is None:
            self._known[one.id] = (1, True)  # what contains itself is damaged, and found elsewhere
            align = max((self.of(member.type) for member in one.members), default=1)
            packed = bool(one.bytes % align) or any(
                self.natural(member, offset) != offset
                for member in one.members
                for offset, _ in [bits_of(self._btf, member)]
            )
            known = self._known[one.id] = (1 if packed else align, packed)
        return known
