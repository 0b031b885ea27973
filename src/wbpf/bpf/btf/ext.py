"""`.BTF.ext` of an eBPF object: which function, source line and CO-RE relocation an instruction has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct as Layout
from struct import error as StructError
from typing import Self

from wbpf.bpf.btf.btf import Btf
from wbpf.errors import FormatError

_HEADER = Layout("<HBBI")
_TABLES = Layout("<6I")
_FUNCTION = Layout("<II")
_LINE = Layout("<IIII")
_RELOCATION = Layout("<IIII")


class RelocationKind(IntEnum):
    """What a CO-RE relocation asks of the kernel's types (`enum bpf_core_relo_kind`)."""

    FIELD_OFFSET = 0
    FIELD_BYTES = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT = 4
    FIELD_RSHIFT = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_BYTES = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


@dataclass(frozen=True, slots=True)
class FunctionInfo:
    """Args: offset: of its first instruction in the section, in bytes; type: the number of a Function."""

    section: str
    offset: int
    type: int


@dataclass(frozen=True, slots=True)
class LineInfo:
    """Args: offset: of the first instruction that comes from this line, in bytes."""

    section: str
    offset: int
    file: str
    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Relocation:
    """A CO-RE relocation.

    Args:
        offset: of the instruction in its section, in bytes.
        type: the root type's number in the object's BTF.
        access: the way from there, as in "0:1:2".
    """

    section: str
    offset: int
    type: int
    access: str
    kind: RelocationKind


@dataclass(frozen=True, slots=True)
class BtfExt:
    """What `.BTF.ext` holds, in its order."""

    functions: tuple[FunctionInfo, ...]
    lines: tuple[LineInfo, ...]
    relocations: tuple[Relocation, ...]

    @classmethod
    def parse(cls, content: bytes, btf: Btf) -> Self:
        """Read the section.

        Args:
            content: its bytes.
            btf: the same object's.

        Raises:
            FormatError: these bytes are damaged.
        """
        try:
            magic, version, _, header = _HEADER.unpack_from(content)
            if magic != 0xEB9F or version != 1:
                raise _damaged("it does not start as .BTF.ext does")
            # The third table is newer than the format.
            tables = (content[_HEADER.size : header] + bytes(_TABLES.size))[: _TABLES.size]
            functions, lines, relocations = (
                list(_records(content, header, at, size, btf, layout))
                for at, size, layout in zip(
                    *_pairs(tables),
                    (_FUNCTION, _LINE, _RELOCATION),
                    strict=True,
                )
            )
            return cls(
                tuple(FunctionInfo(section, offset, of) for section, (offset, of) in functions),
                tuple(
                    LineInfo(s, offset, btf.string(file), btf.string(text), column >> 10, column & 1023)
                    for s, (offset, file, text, column) in lines
                ),
                tuple(
                    Relocation(section, offset, of, btf.string(access), RelocationKind(kind))
                    for section, (offset, of, access, kind) in relocations
                ),
            )
        except (StructError, ValueError) as error:
            raise _damaged(str(error)) from None

    def line(self, section: str, offset: int) -> LineInfo | None:
        """The source line of an instruction."""
        before = [line for line in self.lines if line.section == section and line.offset <= offset]
        return max(before, key=lambda line: line.offset, default=None)


def _pairs(tables: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    values = _TABLES.unpack(tables)
    return values[::2], values[1::2]


def _records(
    content: bytes, header: int, at: int, size: int, btf: Btf, layout: Layout
) -> Iterator[tuple[str, tuple[int, ...]]]:
    if not size:
        return
    at, end = header + at, header + at + size
    if end > len(content):
        raise _damaged("a table does not lie inside it")
    (record_bytes,) = Layout("<I").unpack_from(content, at)
    if record_bytes < layout.size:
        raise _damaged(f"its records have {record_bytes} bytes, at least {layout.size} are wanted")
    at += 4
    while at < end:
        name, count = Layout("<II").unpack_from(content, at)
        at += 8
        if at + count * record_bytes > end:
            raise _damaged("a table is cut off")
        section = btf.string(name)
        for _ in range(count):
            yield section, layout.unpack_from(content, at)
            at += record_bytes


def _damaged(why: str) -> FormatError:
    return FormatError("the object's .BTF.ext is damaged", why, "compile it again")
