"""An eBPF object without DWARF: what the compiler says for debuggers, several times the size of the rest.

BTF, and the relocations that the loader needs, stay. (Clang makes BTF only together with DWARF.)
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError

from wbpf.bpf.elf import sections
from wbpf.errors import FormatError

_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")
_SYMBOL = Struct("<IBBHQQ")
_RELOCATION = Struct("<QQ")
_SYMTAB, _REL, _NO_BITS = 2, 9, 8
_RESERVED = 0xFF00  # section indices of symbols from here on have a meaning of their own
_UNNEEDED = (".debug_", ".rel.debug_", ".llvm_addrsig", ".eh_frame", ".rel.eh_frame")


@dataclass
class _Section:
    name: str
    header: list[int]
    content: bytes


def strip_debug(elf: bytes) -> bytes:
    """The object without its sections for debuggers.

    Raises:
        FormatError: it is no eBPF object.
    """
    sections(elf)  # checks it
    try:
        return _stripped(elf)
    except (StructError, ValueError, LookupError, OverflowError) as error:
        raise FormatError("the eBPF object is damaged", str(error), "compile it again") from None


def _stripped(elf: bytes) -> bytes:
    fields = list(_HEADER.unpack_from(elf))
    whole = _read(elf, table=fields[6], count=fields[12], names=fields[13])
    kept = [at for at, section in enumerate(whole) if not section.name.startswith(_UNNEEDED)]
    index = {old: new for new, old in enumerate(kept)}
    symbols = next((at for at, section in enumerate(whole) if section.header[1] == _SYMTAB), None)
    renumbered = _strip_symbols(whole[symbols], index) if symbols is not None else {}
    for at in kept:
        section = whole[at]
        kind = section.header[1]
        if kind == _REL and section.header[6] == symbols:
            section.content = _renumber(section.content, renumbered)
        section.header[6] = index.get(section.header[6], 0)
        if kind == _REL:
            section.header[7] = index.get(section.header[7], 0)
    return _written(fields, [whole[at] for at in kept], index[fields[13]])


def _read(elf: bytes, table: int, count: int, names: int) -> list[_Section]:
    found = []
    for at in range(count):
        header = list(_SECTION.unpack_from(elf, table + at * _SECTION.size))
        size = 0 if header[1] == _NO_BITS else header[5]
        found.append(_Section("", header, elf[header[4] : header[4] + size]))
    texts = found[names].content
    for section in found:
        start = section.header[0]
        section.name = texts[start : texts.index(b"\0", start)].decode(errors="replace")
    return found


def _strip_symbols(table: _Section, index: dict[int, int]) -> dict[int, int]:
    """Drop the symbols of sections that go; returns the new number of each that stays."""
    content, renumbered, locals_kept = bytearray(), dict[int, int](), 0
    for old, symbol in enumerate(_SYMBOL.iter_unpack(table.content)):
        name, info, other, place, value, size = symbol
        if place < _RESERVED and place not in index:
            continue
        renumbered[old] = len(renumbered)
        locals_kept += old < table.header[7]
        content += _SYMBOL.pack(name, info, other, index.get(place, place), value, size)
    table.content, table.header[7] = bytes(content), locals_kept
    return renumbered


def _renumber(relocations: bytes, renumbered: dict[int, int]) -> bytes:
    return b"".join(
        _RELOCATION.pack(offset, renumbered[info >> 32] << 32 | info & 0xFFFFFFFF)
        for offset, info in _RELOCATION.iter_unpack(relocations)
    )


def _written(fields: list[int], kept: list[_Section], names: int) -> bytes:
    elf = bytearray(_HEADER.size)
    for section in kept:
        header = section.header
        align = max(header[8], 1)
        elf += bytes(-len(elf) % align)
        header[4] = len(elf)
        if header[1] != _NO_BITS:
            header[5] = len(section.content)
        elf += section.content
    elf += bytes(-len(elf) % 8)
    fields[6], fields[12], fields[13] = len(elf), len(kept), names
    elf[: _HEADER.size] = _HEADER.pack(*fields)
    return bytes(elf) + b"".join(_SECTION.pack(*section.header) for section in kept)
