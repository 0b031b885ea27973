"""Schemas: what the bytes of a payload mean ("Schemas" in docs/record-format.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from struct import Struct
from struct import error as StructError

from wbpf.errors import FormatError
from wbpf.records.layout import SCHEMA_ID_MASK

Value = str | int | float | bool | bytes
Fields = dict[str, Value]

_FIXED = {
    "u8": "B",
    "u16": "H",
    "u32": "I",
    "u64": "Q",
    "i8": "b",
    "i16": "h",
    "i32": "i",
    "i64": "q",
    "f32": "f",
    "f64": "d",
    "bool": "?",
}
_LENGTH = Struct("<H")
TYPES = (*_FIXED, "str", "bytes")


def schema_id(descriptor: str) -> int:
    """FNV-1a of the descriptor, cut to 31 bits, never 0."""
    value = 0x811C9DC5
    for byte in descriptor.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return (value & SCHEMA_ID_MASK) or 1


@dataclass(frozen=True)
class _Block:
    """Fields of fixed size that follow each other (`layout`), or one `str` or `bytes` field (no layout)."""

    names: tuple[str, ...]
    layout: Struct | None = None
    text: bool = False


@dataclass(frozen=True)
class Schema:
    """A name and the fields of a payload.

    Args:
        name: of the event, span, metric or trigger.
        fields: pairs of name and type; the types are in `TYPES`.
    """

    name: str
    fields: tuple[tuple[str, str], ...] = ()
    _blocks: tuple[_Block, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_blocks", tuple(_blocks(self.fields)))

    @classmethod
    def parse(cls, descriptor: str) -> Schema:
        """Read a descriptor, `cache.miss key:str count:i64`.

        Raises:
            FormatError: no name, an unknown type, a field without a name or with the name of another one.
        """
        name, *words = descriptor.split(" ")
        if not name:
            raise FormatError(f"schema {descriptor[:80]!r} can't be read", "it has no name")
        fields = []
        for word in words:
            key, _, kind = word.rpartition(":")
            if not key or kind not in TYPES:
                raise FormatError(
                    f"schema {descriptor[:80]!r} can't be read",
                    f"{word[:80]!r} is not a field",
                    "write name:type, the type one of " + " ".join(TYPES),
                )
            fields.append((key, kind))
        if len({key for key, _ in fields}) != len(fields):
            raise FormatError(f"schema {descriptor[:80]!r} can't be read", "two fields have the same name")
        return cls(name, tuple(fields))

    @cached_property
    def descriptor(self) -> str:
        return " ".join([self.name, *(f"{key}:{kind}" for key, kind in self.fields)])

    def encode(self, values: Mapping[str, Value]) -> bytes:
        """Return the payload that holds these values.

        Raises:
            FormatError: a field is missing, or its value does not fit its type.
        """
        out = bytearray()
        try:
            for block in self._blocks:
                if block.layout is not None:
                    out += block.layout.pack(*(values[key] for key in block.names))
                    continue
                value = values[block.names[0]]
                data = value.encode() if isinstance(value, str) else value
                if not isinstance(data, bytes) or isinstance(value, str) != block.text:
                    raise FormatError(f"field {block.names[0]!r} of {self.name!r} can't be {value!r}")
                out += _LENGTH.pack(len(data))
                out += data
        except KeyError as error:
            raise FormatError(f"event {self.name!r} can't be written", f"field {error} is missing") from None
        except (StructError, OverflowError) as error:
            raise FormatError(f"event {self.name!r} can't be written", str(error)) from None
        return bytes(out)

    def decode(self, payload: bytes) -> Fields:
        """Return the values of the fields. Text that is not UTF-8 gets U+FFFD where it isn't.

        Raises:
            FormatError: the payload is shorter or longer than its fields.
        """
        fields, position = self.decode_prefix(payload)
        if len(fields) != len(self.fields) or position != len(payload):
            raise FormatError(
                f"the payload of {self.name!r} does not fit its schema",
                f"{len(payload)} bytes, {len(fields)} of {len(self.fields)} fields in the first {position}",
            )
        return fields

    def decode_prefix(self, payload: bytes) -> tuple[Fields, int]:
        """Return the values of those fields that are there as a whole, and how many bytes they take."""
        fields: Fields = {}
        position = 0
        try:
            for block in self._blocks:
                if block.layout is not None:
                    values = block.layout.unpack_from(payload, position)
                    fields.update(zip(block.names, values, strict=True))
                    position += block.layout.size
                    continue
                (size,) = _LENGTH.unpack_from(payload, position)
                data = payload[position + 2 : position + 2 + size]
                if len(data) != size:
                    break
                fields[block.names[0]] = data.decode(errors="replace") if block.text else data
                position += 2 + size
        except StructError:
            pass  # the payload ends inside the block
        return fields, position


def _blocks(fields: Iterable[tuple[str, str]]) -> Iterable[_Block]:
    names: list[str] = []
    codes = "<"
    for key, kind in fields:
        if kind in _FIXED:
            names.append(key)
            codes += _FIXED[kind]
            continue
        if names:
            yield _Block(tuple(names), Struct(codes))
            names, codes = [], "<"
        yield _Block((key,), text=kind == "str")
    if names:
        yield _Block(tuple(names), Struct(codes))


def parse_schemas(descriptors: Mapping[int, str]) -> dict[int, Schema]:
    """Schemas by id. Those that can't be read are left out, so that their payloads show as bytes."""
    schemas = {}
    for number, descriptor in descriptors.items():
        try:
            schemas[number] = Schema.parse(descriptor)
        except FormatError:
            continue
    return schemas
