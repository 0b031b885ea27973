"""The bytes of one type of BTF."""

from __future__ import annotations

from typing import Protocol

from wbpf.bpf.btf import types as t
from wbpf.bpf.btf.types import Kind
from wbpf.errors import FormatError

#: Words behind the three that every type has: fixed ones, and for each of its parts.
EXTRA_WORDS: dict[int, tuple[int, int]] = {
    Kind.INT: (1, 0),
    Kind.PTR: (0, 0),
    Kind.ARRAY: (3, 0),
    Kind.STRUCT: (0, 3),
    Kind.UNION: (0, 3),
    Kind.ENUM: (0, 2),
    Kind.FWD: (0, 0),
    Kind.TYPEDEF: (0, 0),
    Kind.VOLATILE: (0, 0),
    Kind.CONST: (0, 0),
    Kind.RESTRICT: (0, 0),
    Kind.FUNC: (0, 0),
    Kind.FUNC_PROTO: (0, 2),
    Kind.VAR: (1, 0),
    Kind.DATASEC: (0, 3),
    Kind.FLOAT: (0, 0),
    Kind.DECL_TAG: (1, 0),
    Kind.TYPE_TAG: (0, 0),
    Kind.ENUM64: (0, 3),
}
_REFERRING: dict[Kind, type[t.Referring]] = {
    Kind.PTR: t.Pointer,
    Kind.TYPEDEF: t.Typedef,
    Kind.VOLATILE: t.Volatile,
    Kind.CONST: t.Const,
    Kind.RESTRICT: t.Restrict,
}
_SIGNED, _CHAR, _BOOL = 1, 2, 4


class Strings(Protocol):
    def string(self, offset: int) -> str: ...


def decode(strings: Strings, type_id: int, words: memoryview[int], at: int) -> t.Type:
    """The type whose words start at `at`; whoever calls has seen that they are all there.

    Raises:
        FormatError: a name of it is not there, or a value makes no sense.
    """
    name_at, info, word = words[at : at + 3]
    kind, count, flag = Kind(info >> 24 & 31), info & 0xFFFF, bool(info >> 31)
    name, rest = strings.string(name_at), at + 3
    if kind in _REFERRING:
        return _REFERRING[kind](type_id, name, word)
    match kind:
        case Kind.INT:
            return _int(type_id, name, word, words[rest])
        case Kind.FLOAT:
            return t.Float(type_id, name, word)
        case Kind.ARRAY:
            return t.Array(type_id, name, *words[rest : rest + 3])
        case Kind.STRUCT | Kind.UNION:
            made = t.Struct if kind is Kind.STRUCT else t.Union
            return made(type_id, name, word, _members(strings, words[rest : rest + 3 * count].tolist(), flag))
        case Kind.ENUM:
            pairs = words[rest : rest + 2 * count].tolist()
            values = zip(pairs[::2], pairs[1::2], strict=True)
            named = tuple(
                (strings.string(off), _signed(value, 32) if flag else value) for off, value in values
            )
            return t.Enum(type_id, name, _enum_bytes(word), flag, named)
        case Kind.ENUM64:
            triples = words[rest : rest + 3 * count].tolist()
            parts = zip(triples[::3], triples[1::3], triples[2::3], strict=True)
            wide = ((off, high << 32 | low) for off, low, high in parts)
            named = tuple((strings.string(off), _signed(value, 64) if flag else value) for off, value in wide)
            return t.Enum64(type_id, name, _enum_bytes(word), flag, named)
        case Kind.FWD:
            return t.Forward(type_id, name, flag)
        case Kind.FUNC:
            return t.Function(type_id, name, word, count)
        case Kind.FUNC_PROTO:
            pairs = words[rest : rest + 2 * count].tolist()
            parameters = zip(map(strings.string, pairs[::2]), pairs[1::2], strict=True)
            return t.Prototype(type_id, name, word, tuple(parameters))
        case Kind.VAR:
            return t.Variable(type_id, name, word, words[rest])
        case Kind.DATASEC:
            triples = words[rest : rest + 3 * count].tolist()
            variables = zip(triples[::3], triples[1::3], triples[2::3], strict=True)
            return t.Section(type_id, name, word, tuple(variables))
        case Kind.DECL_TAG:
            return t.DeclTag(type_id, name, word, _signed(words[rest], 32), flag)
        case _:
            return t.TypeTag(type_id, name, word, flag)


def _int(type_id: int, name: str, size: int, word: int) -> t.Int:
    encoding, offset, bits = word >> 24 & 15, word >> 16 & 255, word & 255
    if not 0 < size <= 16 or size & (size - 1) or offset + bits > 8 * size:
        raise FormatError("the BTF is damaged", f"int {name!r} can't have {size} bytes, {bits} bits")
    return t.Int(
        type_id,
        name,
        size,
        bool(encoding & _SIGNED),
        bool(encoding & _CHAR),
        bool(encoding & _BOOL),
        offset,
        bits,
    )


def _members(strings: Strings, parts: list[int], with_bits: bool) -> tuple[t.Member, ...]:
    each = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    if not with_bits:
        return tuple(t.Member(strings.string(name), of, offset) for name, of, offset in each)
    return tuple(
        t.Member(strings.string(name), of, offset & 0xFFFFFF, offset >> 24) for name, of, offset in each
    )


def _enum_bytes(size: int) -> int:
    if size not in (1, 2, 4, 8):
        raise FormatError("the BTF is damaged", f"an enum can't have {size} bytes")
    return size


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
