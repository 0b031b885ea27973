"""Events that a module emits: from the bytes of its structure to values by name."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wbpf.wasm.expressions import compile_filter
from wbpf.wasm.manifest import EventType, Field

Decode = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Args:
        type: the name of its type.
        fields: plain values by name: numbers, texts, lists of numbers.
    """

    type: str
    fields: dict[str, Any]


class Decoder:
    """Decodes the records of one type.

    Args:
        kind: of the manifest.
        filter: a CEL expression over the fields; records for which it is not true are left out.

    Raises:
        ConfigError: the expression can't be used.
    """

    def __init__(self, kind: EventType, filter: str | None = None) -> None:
        self.kind = kind
        self._fields = [(field.name, _decoder(field)) for field in kind.fields]
        self._passes = None if filter is None else compile_filter(filter, kind)

    def decode(self, records: bytes) -> Iterator[Event]:
        """The events in records that follow one another."""
        for at in range(0, len(records), self.kind.bytes):
            record = records[at : at + self.kind.bytes]
            values = {name: decode(record) for name, decode in self._fields}
            if self._passes is None or self._passes(values):
                yield Event(self.kind.name, values)


def _decoder(field: Field) -> Decode:
    start, end = field.offset, field.offset + field.bytes

    def raw(record: bytes) -> bytes:
        return record[start:end]

    match field.kind:
        case "char[]":
            return lambda record: raw(record).split(b"\0", 1)[0].decode(errors="replace")
        case "bytes":
            return lambda record: raw(record).hex()
        case "mac":
            return lambda record: raw(record).hex(":")
        case "ip4":
            return lambda record: ".".join(map(str, raw(record)))
        case "ip6":
            return lambda record: _ip6(raw(record))
        case "bool":
            return lambda record: any(raw(record))
        case "float":
            code = struct.Struct("<f" if field.bytes == 4 else "<d")
            return lambda record: code.unpack_from(record, start)[0]
        case "uint_be":
            return lambda record: int.from_bytes(raw(record), "big")
        case "enum":
            names = dict(field.names)

            def named(record: bytes) -> Any:
                number = int.from_bytes(raw(record), "little", signed=field.signed)
                return names.get(number, number)

            return named
        case "array" | "log2_histogram":
            step = field.element_bytes
            return lambda record: [
                int.from_bytes(record[at : at + step], "little") for at in range(start, end, step)
            ]
        case kind:
            is_signed = kind == "int"
            return lambda record: int.from_bytes(record[start:end], "little", signed=is_signed)


def _ip6(raw: bytes) -> str:
    from ipaddress import IPv6Address

    address = IPv6Address(raw)
    return str(address.ipv4_mapped or address)
