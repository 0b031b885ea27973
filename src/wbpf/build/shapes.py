"""Types of an eBPF object as whole numbers and arrays of fixed sizes: the same layout in eBPF and in wasm32.

A pointer or `long` has 8 bytes in eBPF and 4 in wasm32, so each field is described by what it holds, not by
its C type, and padding is a field of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wbpf.bpf.btf import Btf
from wbpf.bpf.btf import types as t
from wbpf.errors import BuildError

#: Typedefs that say more than their size.
_NETWORK = {"__be16", "__be32", "__be64"}


@dataclass(frozen=True)
class Number:
    """Args: typedef: the name of the type where it says more, such as `__be32`."""

    bytes: int
    signed: bool = False
    is_bool: bool = False
    is_float: bool = False
    typedef: str = ""
    names: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class List:
    """An array. Args: is_text: of char."""

    item: Shape
    count: int
    is_text: bool = False

    @property
    def bytes(self) -> int:
        """Of all of it."""
        return self.item.bytes * self.count


@dataclass(frozen=True)
class Part:
    """A field of a record. Args: is_padding: nobody reads it."""

    name: str
    offset: int
    shape: Shape
    is_padding: bool = False


@dataclass(frozen=True)
class Record:
    """A struct. Unions and packed structs are their bytes: lists of numbers of one byte."""

    name: str
    bytes: int
    align: int
    parts: tuple[Part, ...]


Shape = Number | List | Record


class Shapes:
    """The shapes of an object's types; each named struct once."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        #: by name, those that a record contains before it
        self.records: dict[str, Record] = {}

    def of(self, type_id: int, name: str = "value") -> Shape:
        """The shape of a type.

        Args:
            type_id: its number.
            name: for a struct without one.

        Raises:
            BuildError: it has bit fields, or no fixed size.
        """
        typedef = self._network(type_id)
        one = self._btf.peel(type_id)
        if isinstance(one, t.Int):
            if one.bytes > 8:
                return List(Number(8), one.bytes // 8)
            return Number(one.bytes, one.signed, one.is_bool, typedef=typedef)
        if isinstance(one, t.Float):
            return Number(one.bytes, is_float=True)
        if isinstance(one, t.Enum):
            return Number(one.bytes, one.signed, names=tuple((value, text) for text, value in one.values))
        if isinstance(one, t.Pointer):
            return Number(8)
        if isinstance(one, t.Array):
            inner = self._btf.peel(one.type)
            is_text = isinstance(inner, t.Int) and inner.bytes == 1 and self._is_char(one.type)
            return List(self.of(one.type, name), one.count, is_text)
        if isinstance(one, t.Union):
            return List(Number(1), one.bytes)
        if isinstance(one, t.Struct):
            return self._record(one, name)
        raise BuildError(
            f"{name!r} can't be used outside of eBPF", f"{one.kind.name.lower()} has no fixed size"
        )

    def variable(self, variable: t.Variable) -> Shape:
        """The shape of a global variable."""
        return self.of(variable.type, variable.name)

    def _record(self, one: t.Struct, name: str) -> Record | List:
        name = one.name or name
        if name in self.records:
            return self.records[name]
        parts: list[Part] = []
        at = 0
        for member in one.members:
            if member.bits or member.bit_offset % 8:
                why = f"its field {member.name!r} is a bit field, whose layout depends on the compiler"
                raise BuildError(
                    f"struct {name} can't be used outside of eBPF", why, "make it a whole number"
                )
            offset = member.bit_offset // 8
            if offset > at:
                parts.append(_padding(at, offset))
            shape = self.of(member.type, f"{name}_{member.name or offset}")
            parts.append(Part(member.name or f"at_{offset}", offset, shape))
            at = offset + shape.bytes
        if at < one.bytes:
            parts.append(_padding(at, one.bytes))
        align = max((alignment(part.shape) for part in parts), default=1)
        if one.bytes % align or any(part.offset % alignment(part.shape) for part in parts):
            return List(Number(1), one.bytes)  # packed
        made = Record(name, one.bytes, align, tuple(parts))
        self.records[name] = made
        return made

    def _network(self, type_id: int) -> str:
        one = self._btf[type_id]
        while isinstance(one, t.Referring) and one.kind in t.TRANSPARENT:
            if one.name in _NETWORK:
                return one.name
            one = self._btf[one.type]
        return ""

    def _is_char(self, type_id: int) -> bool:
        """Whether it was declared as char: __u8 and the like are numbers."""
        one = self._btf[type_id]
        while isinstance(one, t.Referring) and one.kind in t.TRANSPARENT:
            if isinstance(one, t.Typedef) and re.search(r"\d", one.name):
                return False
            one = self._btf[one.type]
        return one.name == "char"


def alignment(shape: Shape) -> int:
    """What a compiler aligns it to."""
    if isinstance(shape, Number):
        return shape.bytes
    return alignment(shape.item) if isinstance(shape, List) else shape.align


def _padding(at: int, to: int) -> Part:
    return Part(f"pad_{at}", at, List(Number(1), to - at), is_padding=True)
