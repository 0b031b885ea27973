"""BTF as C: declarations, and whole headers such as vmlinux.h."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.layout import Alignment, bits_of, bytes_of
from wbpf.bpf.btf.names import Names, identifier
from wbpf.bpf.btf.references import references
from wbpf.bpf.btf.types import (
    MODIFIERS,
    Array,
    Composite,
    Enum,
    Forward,
    Int,
    Kind,
    Prototype,
    Referring,
    Type,
    Typedef,
)
from wbpf.errors import FormatError

_DECLARED = {Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF, Kind.FWD}
_MODES = {1: "QI", 2: "HI", 8: "DI"}
_BUILTIN = re.compile(
    r"(?:(?:un)?signed |long |short )*(?:char|int|long|short|unsigned)(?: (?:un)?signed)?(?: int)?"
    r"|_Bool|(?:unsigned )?__int128(?: unsigned)?|float|double|long double"
)
#: Typedefs that the compiler brings along; which may mean something else than in the BTF.
_COMPILER_TYPES = {"__builtin_va_list", "__int128_t", "__uint128_t"}

_ACCESS = """#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
#endif
"""
_END_OF_ACCESS = """#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif
"""


def header(
    btf: Btf, types: Iterable[int] | None = None, *, guard: str = "", access_index: bool = False
) -> str:
    """A header that declares types, and all that they are made of, so that it compiles.

    Args:
        btf: has them.
        types: their numbers; None for all.
        guard: the macro that keeps it from being read twice.
        access_index: programs that use it are relocated to the kernel that they run on.

    Raises:
        FormatError: the BTF is damaged: a type contains itself, or has a size that makes no sense.
    """
    writer = Writer(btf)
    try:
        body = "\n".join(writer.definitions(btf.own_ids if types is None else types, unused=types is None))
    except RecursionError:
        raise FormatError("the BTF is damaged", "its types contain each other too deeply") from None
    if access_index:
        body = f"{_ACCESS}\n{body}\n{_END_OF_ACCESS}"
    return f"#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n" if guard else body


class Writer:
    """Writes types as C, in an order that a compiler takes."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._names = Names(btf)
        self._align = Alignment(btf)
        self._seen: set[tuple[int, bool]] = set()
        self._open: set[int] = set()
        self._declared: set[str] = set()
        self._ready: list[str] = []
        self._pads = 0

    def definitions(self, types: Iterable[int], *, unused: bool = False) -> Iterator[str]:
        """Types and what they need, each once.

        Args:
            types: their numbers.
            unused: enums without a name that nothing refers to, too.
        """
        btf = self._btf
        used = {other for one in btf for other in references(one)} if unused else set()
        for type_id in types:
            if btf.kind(type_id) not in _DECLARED:
                continue
            one = btf[type_id]
            if one.name:
                self._visit(type_id, whole=True)
            elif isinstance(one, Enum) and unused and type_id not in used:
                self._ready.append(f"{self._enum(one, '')};\n")
            yield from self._ready
            self._ready.clear()

    def declaration(self, type_id: int, name: str = "", indent: str = "") -> str:
        """`int (*name)[4]` and the like."""
        qualifiers: list[str] = []
        for _ in range(256):
            one = self._btf[type_id]
            if isinstance(one, Referring) and one.kind in MODIFIERS:
                if one.kind is not Kind.TYPE_TAG and (word := one.kind.name.lower()) not in qualifiers:
                    qualifiers.append(word)
                type_id = one.type
            elif isinstance(one, Referring) and one.kind is Kind.PTR:
                around = " ".join([*qualifiers, name] if name else qualifiers)
                name = f"* {around}" if qualifiers else f"*{name}"
                qualifiers, type_id = [], one.type
                if isinstance(self._unqualified(type_id), Array | Prototype):
                    name = f"({name})"
            elif isinstance(one, Array):
                name, type_id = f"{name}[{one.count}]", one.type
            elif isinstance(one, Prototype):
                name, type_id = f"{name}({self._parameters(one, indent)})", one.result
            elif isinstance(one, Typedef) and one.name in _COMPILER_TYPES:
                type_id = one.type
            else:
                qualifiers = [word for word in qualifiers if word != "restrict"]
                return " ".join(filter(None, [*qualifiers, self._base(one, indent), name]))
        raise FormatError("the BTF is damaged", f"type {type_id} has no end")

    def _unqualified(self, type_id: int) -> Type:
        for _ in range(64):
            one = self._btf[type_id]
            if one.kind not in MODIFIERS or not isinstance(one, Referring):
                return one
            type_id = one.type
        raise FormatError("the BTF is damaged", f"type {type_id} has no end")

    def _parameters(self, one: Prototype, indent: str) -> str:
        texts = [
            "..." if (name, of) == ("", 0) else self.declaration(of, identifier(name) if name else "", indent)
            for name, of in one.parameters
        ]
        return "" if texts == ["..."] else ", ".join(texts) or "void"

    def _base(self, one: Type, indent: str) -> str:
        if one.kind is Kind.VOID:
            return "void"
        if isinstance(one, Int):
            return one.name if _BUILTIN.fullmatch(one.name) else _standard_int(one)
        if isinstance(one, Composite) and not one.name:
            return self._composite(one, indent)
        if isinstance(one, Enum) and not one.name:
            return self._enum(one, indent)
        return self._names.of(one)

    def _visit(self, type_id: int, *, whole: bool) -> None:
        """Write what has to stand before a type is used. Args: whole: not just pointed to."""
        if (type_id, whole) in self._seen:
            if whole and type_id in self._open:
                raise FormatError("the BTF is damaged", f"{self._btf[type_id].name!r} contains itself")
            return
        self._seen.add((type_id, whole))
        one = self._btf[type_id]
        if isinstance(one, Typedef) and one.name in _COMPILER_TYPES:
            self._visit(one.type, whole=whole)
        elif isinstance(one, Typedef):
            if (type_id, not whole) not in self._seen:
                self._visit(one.type, whole=False)
                self._ready.append(f"typedef {self.declaration(one.type, self._names.of(one))};\n")
            if whole:
                self._visit(one.type, whole=True)
        elif isinstance(one, Composite):
            self._visit_composite(one, whole=whole)
        elif isinstance(one, Enum):
            if one.name and (type_id, not whole) not in self._seen:
                self._ready.append(f"{self._enum(one, '')};\n")
        elif isinstance(one, Forward):
            self._declare(self._names.of(one))
        elif isinstance(one, Prototype):
            for other in references(one):
                self._visit(other, whole=False)
        elif isinstance(one, Array):
            self._visit(one.type, whole=True)
        elif isinstance(one, Referring) and one.kind in MODIFIERS | {Kind.PTR}:
            self._visit(one.type, whole=whole and one.kind is not Kind.PTR)

    def _visit_composite(self, one: Composite, *, whole: bool) -> None:
        if one.name and not whole:
            self._declare(self._names.of(one))
            return
        self._open.add(one.id)
        for member in one.members:
            self._visit(member.type, whole=True)
        self._open.discard(one.id)
        if one.name:
            self._declared.add(self._names.of(one))
            self._ready.append(f"{self._composite(one, '')};\n")

    def _declare(self, text: str) -> None:
        if text not in self._declared:
            self._declared.add(text)
            self._ready.append(f"{text};\n")

    def _enum(self, one: Enum, indent: str) -> str:
        values = "".join(
            f"{indent}\t{self._names.unique(name)} = {_literal(value)},\n" for name, value in one.values
        )
        head = self._names.of(one) if one.name else "enum"
        mode = _MODES.get(one.bytes)
        attribute = f" __attribute__((mode({mode})))" if mode else ""
        return f"{head} {{\n{values}{indent}}}{attribute}"

    def _composite(self, one: Composite, indent: str) -> str:
        packed = self._align.packed(one)
        head = self._names.of(one) if one.name else one.kind.name.lower()
        lines: list[str] = []
        inner = f"{indent}\t"
        at = 0
        for member in one.members:
            offset, bits = bits_of(self._btf, member)
            if one.kind is Kind.STRUCT and (at if packed else self._align.natural(member, at)) != offset:
                if offset < at:
                    raise FormatError("the BTF is damaged", f"members of {one.name!r} overlap")
                lines += self._gap(at, offset)
            text = self.declaration(member.type, identifier(member.name) if member.name else "", inner)
            lines.append(f"{text}: {bits}" if bits else text)
            end = offset + (bits or 8 * bytes_of(self._btf, member.type))
            at = end if one.kind is Kind.STRUCT else max(at, end)
        align = 8 if packed else 8 * self._align.of(one.id)
        if at > 8 * one.bytes:
            raise FormatError("the BTF is damaged", f"members of {one.name!r} do not lie inside it")
        if -(-at // align) * align < 8 * one.bytes:
            lines += self._gap(at if one.kind is Kind.STRUCT else 0, 8 * one.bytes)
        body = "".join(f"{inner}{line};\n" for line in lines)
        return f"{head} {{\n{body}{indent}}}{' __attribute__((packed))' if packed else ''}"

    def _gap(self, at: int, to: int) -> Iterator[str]:
        """What fills the bits from `at` to `to`, without an alignment of its own."""
        if at % 8:
            bits = min(8 - at % 8, to - at)
            yield f"unsigned char : {bits}"
            at += bits
        if to - at >= 8:
            self._pads += 1
            yield f"unsigned char __pad{self._pads}[{(to - at) // 8}]"
        if (to - at) % 8:
            yield f"unsigned char : {(to - at) % 8}"


def _literal(value: int) -> str:
    if -(1 << 31) <= value < 1 << 31:
        return str(value)
    if value == -(1 << 63):
        return "(-9223372036854775807LL - 1)"
    return f"{value}{'U' if value >= 1 << 31 and value < 1 << 32 else 'ULL' if value > 0 else 'LL'}"


def _standard_int(one: Int) -> str:
    if one.is_bool and one.bytes == 1:
        return "_Bool"
    name = {1: "char", 2: "short", 4: "int", 8: "long", 16: "__int128"}[one.bytes]
    return f"{'signed' if one.signed else 'unsigned'} {name}"
