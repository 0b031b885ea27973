"""The types that BTF describes: one small class for each kind, and what they share.

https://docs.kernel.org/bpf/btf.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar


class Kind(IntEnum):
    """What a type is, as BTF numbers it."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


@dataclass(frozen=True, slots=True)
class Type:
    """A type; its own class says what else it has.

    Args:
        id: its number in its BTF; 0 is void.
        name: "" if it has none.
    """

    id: int
    name: str
    kind: ClassVar[Kind]


@dataclass(frozen=True, slots=True)
class Void(Type):
    kind = Kind.VOID


@dataclass(frozen=True, slots=True)
class Int(Type):
    """Args: bits: how many of its `bytes` count, from `bit_offset` on (other than all: old bit fields)."""

    kind = Kind.INT
    bytes: int
    signed: bool = False
    is_char: bool = False
    is_bool: bool = False
    bit_offset: int = 0
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Float(Type):
    kind = Kind.FLOAT
    bytes: int


@dataclass(frozen=True, slots=True)
class Referring(Type):
    """A type that is about one other, whose number is `type`."""

    type: int


@dataclass(frozen=True, slots=True)
class Pointer(Referring):
    kind = Kind.PTR


@dataclass(frozen=True, slots=True)
class Typedef(Referring):
    kind = Kind.TYPEDEF


@dataclass(frozen=True, slots=True)
class Volatile(Referring):
    kind = Kind.VOLATILE


@dataclass(frozen=True, slots=True)
class Const(Referring):
    kind = Kind.CONST


@dataclass(frozen=True, slots=True)
class Restrict(Referring):
    kind = Kind.RESTRICT


@dataclass(frozen=True, slots=True)
class TypeTag(Referring):
    """`name` is the tag. Args: attribute: it is any attribute, not one of `btf_type_tag`."""

    kind = Kind.TYPE_TAG
    attribute: bool = False


@dataclass(frozen=True, slots=True)
class DeclTag(Referring):
    """`name` is the tag. Args: component: which member or parameter it is about, -1 for the whole."""

    kind = Kind.DECL_TAG
    component: int = -1
    attribute: bool = False


@dataclass(frozen=True, slots=True)
class Function(Referring):
    """Args: linkage: 0 static, 1 global, 2 extern."""

    kind = Kind.FUNC
    linkage: int = 0


@dataclass(frozen=True, slots=True)
class Variable(Referring):
    """Args: linkage: 0 static, 1 global, 2 extern."""

    kind = Kind.VAR
    linkage: int = 0


@dataclass(frozen=True, slots=True)
class Array(Type):
    kind = Kind.ARRAY
    type: int
    index_type: int
    count: int


@dataclass(frozen=True, slots=True)
class Member:
    """Of a struct or union. Args: bits: of a bit field, else 0."""

    name: str
    type: int
    bit_offset: int
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Composite(Type):
    bytes: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Struct(Composite):
    kind = Kind.STRUCT


@dataclass(frozen=True, slots=True)
class Union(Composite):
    kind = Kind.UNION


@dataclass(frozen=True, slots=True)
class Enum(Type):
    kind = Kind.ENUM
    bytes: int
    signed: bool
    values: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Enum64(Enum):
    kind = Kind.ENUM64


@dataclass(frozen=True, slots=True)
class Forward(Type):
    """A struct or union that is only declared."""

    kind = Kind.FWD
    is_union: bool


@dataclass(frozen=True, slots=True)
class Prototype(Type):
    """Args: parameters: name and type; the last is ("", 0) if there may be more of them."""

    kind = Kind.FUNC_PROTO
    result: int
    parameters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Section(Type):
    """A section of variables. Args: variables: type, offset, bytes of each."""

    kind = Kind.DATASEC
    bytes: int
    variables: tuple[tuple[int, int, int], ...]


#: Kinds that say more about a type without being another.
MODIFIERS = frozenset({Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
TRANSPARENT = MODIFIERS | {Kind.TYPEDEF}
