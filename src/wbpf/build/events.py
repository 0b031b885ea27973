"""The manifest's event types, from the structures of eBPF programs and what wbpf.toml says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wbpf.build.project import EventSpec, FieldSpec
from wbpf.build.shapes import List, Number, Record, Shape
from wbpf.errors import ConfigError
from wbpf.wasm.manifest import EventType, Field, FieldKind

_UNSHOWN = ("pad", "reserved", "_")


def event_types(file: str, events: dict[str, EventSpec], records: Iterable[Record]) -> tuple[EventType, ...]:
    """The event types.

    Args:
        file: wbpf.toml, for messages.
        events: of it.
        records: the structures that the objects have.

    Raises:
        ConfigError: there is no such structure or field.
    """
    known = {record.name: record for record in records}
    made = []
    for name, spec in events.items():
        struct = spec.struct or name
        if struct not in known:
            why = f"no eBPF object has a struct {struct!r}; they have {', '.join(known) or 'none'}"
            raise ConfigError(f"{file}: events.{name}", why, f"say WBPF_EVENT({struct}); in the .bpf.c")
        record = known[struct]
        paths = dict(_flat(record))
        unknown = next((path for path in spec.fields if path not in paths), None)
        if unknown is not None:
            why = f"struct {struct} has no such field; it has {', '.join(paths)}"
            raise ConfigError(f"{file}: events.{name}.fields.{unknown}", why)
        fields = [
            _field(path, offset, shape, spec.fields.get(path, FieldSpec()))
            for path, (offset, shape) in paths.items()
            if not spec.fields.get(path, FieldSpec(hide=path.startswith(_UNSHOWN))).hide
        ]
        made.append(EventType(name, record.bytes, tuple(fields), spec.help))
    return tuple(made)


def _flat(record: Record, prefix: str = "", base: int = 0) -> Iterator[tuple[str, tuple[int, Shape]]]:
    for part in record.parts:
        if part.is_padding:
            continue
        path = f"{prefix}{part.name}"
        if isinstance(part.shape, Record):
            yield from _flat(part.shape, f"{path}.", base + part.offset)
        else:
            yield path, (base + part.offset, part.shape)


def _field(path: str, offset: int, shape: Shape, spec: FieldSpec) -> Field:
    kind = spec.kind or _kind(shape)
    element = shape.item.bytes if isinstance(shape, List) and kind in ("array", "log2_histogram") else 0
    is_enum = isinstance(shape, Number) and kind == "enum"
    return Field(
        name=spec.name or path,
        offset=offset,
        bytes=shape.bytes,
        kind=kind,
        unit=spec.unit,
        help=spec.help,
        element_bytes=element,
        signed=is_enum and isinstance(shape, Number) and shape.signed,
        names=shape.names if is_enum and isinstance(shape, Number) else (),
    )


def _kind(shape: Shape) -> FieldKind:
    if isinstance(shape, List):
        if shape.is_text:
            return "char[]"
        return "array" if isinstance(shape.item, Number) and shape.item.bytes > 1 else "bytes"
    if not isinstance(shape, Number):
        return "bytes"
    if shape.typedef:
        return "ip4" if shape.typedef == "__be32" else "uint_be"
    if shape.names:
        return "enum"
    if shape.is_bool:
        return "bool"
    if shape.is_float:
        return "float"
    return "int" if shape.signed else "uint"
