"""Which types a type speaks of."""

from __future__ import annotations

from collections.abc import Iterator

from wbpf.bpf.btf.types import Array, Composite, Prototype, Referring, Section, Type


def references(one: Type) -> Iterator[int]:
    """The numbers of the types that `one` directly speaks of."""
    match one:
        case Referring():
            yield one.type
        case Array():
            yield one.type
            yield one.index_type
        case Composite():
            for member in one.members:
                yield member.type
        case Prototype():
            yield one.result
            for _, of in one.parameters:
                yield of
        case Section():
            for of, _, _ in one.variables:
                yield of
