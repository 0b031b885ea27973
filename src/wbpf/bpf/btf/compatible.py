"""When a type of an object and one of the kernel pass for the same; the rules are libbpf's."""

from __future__ import annotations

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.types import Array, Composite, Enum, Forward, Int, Kind, Pointer, Prototype, Type

_DEPTH = 32
_BY_NAME = {Kind.FWD, Kind.ENUM, Kind.ENUM64}
_WHOLE = _BY_NAME | {Kind.VOID, Kind.STRUCT, Kind.UNION}


def essential(name: str) -> str:
    """A name without the flavour behind three underscores: `task_struct___old` is `task_struct`."""
    at = name.rfind("___", 1, len(name) - 1)
    while at > 0:
        if name[at - 1] != "_" and at + 3 < len(name) and name[at + 3] != "_":
            return name[:at]
        at = name.rfind("___", 1, at + 2)
    return name


def same_kind(one: Type, other: Type) -> bool:
    """Whether both are of one kind; enums may be of either size."""
    return one.kind == other.kind or (isinstance(one, Enum) and isinstance(other, Enum))


def fields_compatible(local: Btf, one: int, btf: Btf, other: int) -> bool:
    """Whether a field of one type may be read as one of the other."""
    for _ in range(_DEPTH):
        mine, theirs = local.peel(one), btf.peel(other)
        if isinstance(mine, Composite) and isinstance(theirs, Composite):
            return True
        if not same_kind(mine, theirs):
            return False
        if isinstance(mine, Array) and isinstance(theirs, Array):
            one, other = mine.type, theirs.type
            continue
        if isinstance(mine, Int) and isinstance(theirs, Int):
            return not mine.bit_offset and not theirs.bit_offset
        if mine.kind in _BY_NAME:
            return not mine.name or not theirs.name or essential(mine.name) == essential(theirs.name)
        return mine.kind in (Kind.PTR, Kind.FLOAT)
    return False


def types_compatible(local: Btf, one: int, btf: Btf, other: int, depth: int = _DEPTH) -> bool:
    """What `bpf_core_type_exists()` asks."""
    if depth <= 0:
        return False
    mine, theirs = local.peel(one), btf.peel(other)
    if not same_kind(mine, theirs):
        return False
    if isinstance(mine, Int) and isinstance(theirs, Int):
        return not mine.bit_offset and not theirs.bit_offset
    if isinstance(mine, Pointer | Array) and isinstance(theirs, Pointer | Array):
        return types_compatible(local, mine.type, btf, theirs.type, depth - 1)
    if isinstance(mine, Prototype) and isinstance(theirs, Prototype):
        pairs = _pairs(mine, theirs)
        return pairs is not None and all(types_compatible(local, a, btf, b, depth - 1) for a, b in pairs)
    return mine.kind in _WHOLE


def types_match(
    local: Btf, one: int, btf: Btf, other: int, behind_pointer: bool = False, depth: int = _DEPTH
) -> bool:
    """What `bpf_core_type_matches()` asks."""
    if depth <= 0:
        return False
    mine, theirs = local.peel(one), btf.peel(other)
    if essential(mine.name) != essential(theirs.name):
        return False
    if isinstance(mine, Forward):
        if isinstance(theirs, Forward):
            return mine.is_union == theirs.is_union
        return theirs.kind is (Kind.UNION if mine.is_union else Kind.STRUCT)
    if isinstance(mine, Enum):
        if not isinstance(theirs, Enum) or len(mine.values) > len(theirs.values):
            return False
        return {essential(name) for name, _ in mine.values} <= {essential(name) for name, _ in theirs.values}
    if isinstance(mine, Composite):
        if behind_pointer:
            if isinstance(theirs, Forward):
                return theirs.is_union == (mine.kind is Kind.UNION)
            return mine.kind == theirs.kind
        return isinstance(theirs, Composite) and _composites_match(local, mine, btf, theirs, depth)
    if mine.kind != theirs.kind:
        return False
    if isinstance(mine, Int) and isinstance(theirs, Int):
        return mine.bytes == theirs.bytes and mine.signed == theirs.signed
    if isinstance(mine, Pointer) and isinstance(theirs, Pointer):
        return types_match(local, mine.type, btf, theirs.type, True, depth - 1)
    if isinstance(mine, Array) and isinstance(theirs, Array):
        same_count = mine.count == theirs.count
        return same_count and types_match(local, mine.type, btf, theirs.type, behind_pointer, depth - 1)
    if isinstance(mine, Prototype) and isinstance(theirs, Prototype):
        pairs = _pairs(mine, theirs)
        return pairs is not None and all(
            types_match(local, a, btf, b, behind_pointer, depth - 1) for a, b in pairs
        )
    return mine.kind is Kind.VOID


def _composites_match(local: Btf, mine: Composite, btf: Btf, theirs: Composite, depth: int) -> bool:
    if mine.kind != theirs.kind or len(mine.members) > len(theirs.members):
        return False
    return all(
        any(
            essential(member.name) == essential(candidate.name)
            and types_match(local, member.type, btf, candidate.type, False, depth - 1)
            for candidate in theirs.members
        )
        for member in mine.members
    )


def _pairs(mine: Prototype, theirs: Prototype) -> list[tuple[int, int]] | None:
    """Parameters and results, side by side; None if there are more of one."""
    if len(mine.parameters) != len(theirs.parameters):
        return None
    pairs = [(a, b) for (_, a), (_, b) in zip(mine.parameters, theirs.parameters, strict=True)]
    return [*pairs, (mine.result, theirs.result)]
