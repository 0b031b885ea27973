"""Values of maps and records as Python values, by the types that an object's BTF has for them.

Integers, enumerators and pointers are int, `bool` is bool, floats are float, arrays of `char` are str, other
arrays of bytes are bytes, any other array a list, structs and unions dicts by the names of their fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.layout import bytes_of, struct_layout
from wbpf.bpf.btf.types import Array, Composite, Enum, Float, Int
from wbpf.errors import BpfError

if TYPE_CHECKING:
    from wbpf.bpf.maps import Map

_FLOATS = {4: "<f", 8: "<d"}


def decode(btf: Btf, type_id: int, content: bytes) -> Any:
    """The Python value of bytes of a type."""
    one = btf.peel(type_id)
    if isinstance(one, Composite):
        return {
            field.name: _bits(content, field.bit_offset, field.bits)
            if field.bits
            else decode(btf, field.type, content[field.offset : field.offset + field.bytes])
            for field in struct_layout(btf, type_id)
        }
    if isinstance(one, Array):
        element = btf.peel(one.type)
        if isinstance(element, Int) and element.bytes == 1 and not element.is_bool:
            return content.partition(b"\0")[0].decode(errors="replace") if element.name == "char" else content
        size = bytes_of(btf, one.type)
        return [decode(btf, one.type, content[at : at + size]) for at in range(0, one.count * size, size)]
    if isinstance(one, Float):
        return struct.unpack(_FLOATS[one.bytes], content)[0]
    if isinstance(one, Int) and one.is_bool:
        return any(content)
    return int.from_bytes(content, "little", signed=isinstance(one, Int | Enum) and one.signed)


def encode(btf: Btf, type_id: int, value: Any) -> bytes:
    """The bytes of a type for a Python value; fields that a dict does not name are zero.

    Raises:
        BpfError: the value does not fit the type.
    """
    try:
        return _encode(btf, type_id, value)
    except (TypeError, ValueError, OverflowError, KeyError, AttributeError, struct.error) as error:
        raise BpfError(f"{value!r} is no {btf.declaration(type_id).strip()}", str(error)) from error


def _encode(btf: Btf, type_id: int, value: Any) -> bytes:
    one, size = btf.peel(type_id), bytes_of(btf, type_id)
    if isinstance(one, Composite):
        return _encode_fields(btf, type_id, size, dict(value))
    if isinstance(one, Array):
        if isinstance(value, str | bytes):
            content = value.encode() if isinstance(value, str) else value
            if len(content) > size:
                raise OverflowError(f"it has {len(content)} bytes, there is room for {size}")
            return content.ljust(size, b"\0")
        if len(value) != one.count:
            raise ValueError(f"it has {len(value)} elements, {one.count} are wanted")
        return b"".join(_encode(btf, one.type, element) for element in value)
    if isinstance(one, Float):
        return struct.pack(_FLOATS[one.bytes], value)
    signed = isinstance(one, Int | Enum) and one.signed
    return int(value).to_bytes(size, "little", signed=signed)


def _encode_fields(btf: Btf, type_id: int, size: int, values: dict[str, Any]) -> bytes:
    content = bytearray(size)
    for field in struct_layout(btf, type_id):
        if field.name not in values:
            continue
        value = values.pop(field.name)
        if field.bits:
            if not 0 <= int(value) < 1 << field.bits:
                raise OverflowError(f"{field.name} has {field.bits} bits")
            whole = int.from_bytes(content, "little") | int(value) << field.bit_offset
            content[:] = whole.to_bytes(size, "little")
        else:
            content[field.offset : field.offset + field.bytes] = _encode(btf, field.type, value)
    if values:
        raise KeyError(f"it has no field {', '.join(values)}")
    return bytes(content)


def _bits(content: bytes, offset: int, bits: int) -> int:
    return int.from_bytes(content, "little") >> offset & ((1 << bits) - 1)


class Typed(MutableMapping[Any, Any]):
    """A map with Python values for its keys and values; values of per-CPU maps are lists.

    Keys that are structs are given as dicts, and come as tuples of their fields' values.

    Raises:
        BpfError: the object has no types for this map.
    """

    def __init__(self, map: Map, btf: Btf) -> None:
        if not map.key_type or not map.value_type:
            why = "its definition has no __type(key, …) and __type(value, …)"
            raise BpfError(f"map {map.name!r} has no types", why)
        self._map, self._btf = map, btf
        self._is_per_cpu = map.element_bytes != map.value_bytes

    def __getitem__(self, key: Any) -> Any:
        return self._decoded(self._map[self._key(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        kind = self._map.value_type
        if self._is_per_cpu:
            self._map.per_cpu[self._key(key)] = [encode(self._btf, kind, one) for one in value]
        else:
            self._map[self._key(key)] = encode(self._btf, kind, value)

    def __delitem__(self, key: Any) -> None:
        del self._map[self._key(key)]

    def __iter__(self) -> Iterator[Any]:
        for key in self._map:
            value = decode(self._btf, self._map.key_type, key)
            yield tuple(value.values()) if isinstance(value, Mapping) else value

    def __len__(self) -> int:
        return len(self._map)

    def _key(self, key: Any) -> bytes:
        if isinstance(key, tuple):
            names = [field.name for field in struct_layout(self._btf, self._map.key_type)]
            key = dict(zip(names, key, strict=True))
        return encode(self._btf, self._map.key_type, key)

    def _decoded(self, content: bytes) -> Any:
        kind = self._map.value_type
        if not self._is_per_cpu:
            return decode(self._btf, kind, content)
        size, stride = self._map.element_bytes, (self._map.element_bytes + 7) // 8 * 8
        return [decode(self._btf, kind, content[at : at + size]) for at in range(0, len(content), stride)]
