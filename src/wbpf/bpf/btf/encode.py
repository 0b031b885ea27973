"""Types written as BTF."""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack

from wbpf.bpf.btf import types as t
from wbpf.bpf.btf.types import Kind, Type
from wbpf.errors import FormatError

_MOST_PARTS = 0xFFFF
_MOST_BITS = 0xFFFFFF


def encode(types: Iterable[Type]) -> bytes:
    """BTF that holds these types; their numbers are 1, 2, 3, ….

    Raises:
        FormatError: a type has more parts than BTF can count.
    """
    strings = _Strings()
    body = b"".join(_type(one, strings) for one in types)
    text = bytes(strings.text)
    return pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(text)) + body + text


class _Strings:
    def __init__(self) -> None:
        self.text = bytearray(b"\0")
        self._known = {"": 0}

    def at(self, name: str) -> int:
        offset = self._known.get(name)
        if offset is None:
            offset = self._known[name] = len(self.text)
            self.text += name.encode().replace(b"\0", b"") + b"\0"
        return offset


def _type(one: Type, strings: _Strings) -> bytes:
    word, count, flag, rest = 0, 0, False, b""
    match one:
        case t.Int():
            word = one.bytes
            encoding = one.signed | one.is_char << 1 | one.is_bool << 2
            rest = pack("<I", encoding << 24 | one.bit_offset << 16 | one.bits)
        case t.Float():
            word = one.bytes
        case t.Function():
            word, count = one.type, one.linkage
        case t.Variable():
            word, rest = one.type, pack("<I", one.linkage)
        case t.DeclTag():
            word, flag, rest = one.type, one.attribute, pack("<i", one.component)
        case t.TypeTag():
            word, flag = one.type, one.attribute
        case t.Referring():
            word = one.type
        case t.Array():
            rest = pack("<III", one.type, one.index_type, one.count)
        case t.Composite():
            word, count = one.bytes, len(one.members)
            flag = any(member.bits for member in one.members)
            if flag and any(member.bit_offset > _MOST_BITS for member in one.members):
                raise FormatError(
                    f"{one.name!r} can't be written as BTF", "its bit fields are too far inside"
                )
            rest = b"".join(
                pack("<III", strings.at(m.name), m.type, m.bits << 24 | m.bit_offset) for m in one.members
            )
        case t.Enum64():
            word, count, flag = one.bytes, len(one.values), one.signed
            rest = b"".join(
                pack("<III", strings.at(name), value & 0xFFFFFFFF, value >> 32 & 0xFFFFFFFF)
                for name, value in one.values
            )
        case t.Enum():
            word, count, flag = one.bytes, len(one.values), one.signed
            rest = b"".join(pack("<II", strings.at(n), value & 0xFFFFFFFF) for n, value in one.values)
        case t.Forward():
            flag = one.is_union
        case t.Prototype():
            word, count = one.result, len(one.parameters)
            rest = b"".join(pack("<II", strings.at(name), of) for name, of in one.parameters)
        case t.Section():
            word, count = one.bytes, len(one.variables)
            rest = b"".join(pack("<III", *variable) for variable in one.variables)
    if count > _MOST_PARTS:
        raise FormatError(
            f"{one.name!r} can't be written as BTF", f"{count} parts are more than {_MOST_PARTS}"
        )
    info = flag << 31 | Kind(one.kind) << 24 | count
    return pack("<III", strings.at(one.name), info, word) + rest
