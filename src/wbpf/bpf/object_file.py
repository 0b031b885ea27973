"""What is in an eBPF object file, read without loading it: programs, maps, relocations, types."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct as Layout
from struct import error as StructError
from typing import Self

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.ext import BtfExt, Relocation
from wbpf.bpf.btf.types import Array, Composite, Kind, Pointer, Section, Variable
from wbpf.bpf.elf import Section as ElfSection
from wbpf.bpf.elf import read_elf
from wbpf.bpf.kinds import MapType
from wbpf.errors import FormatError

_SYMBOL = Layout("<IBBHQQ")
_ADDRESS_BYTES = 8
_REL = Layout("<QQ")
_SYMTAB, _RELOCATIONS, _PROGBITS = 2, 9, 1
_EXECUTABLE = 4
_SECTION_SYMBOL, _FUNCTION_SYMBOL = 3, 2
_WEAK = 2
_KCONFIG = ".kconfig"
_DATA = (".data", ".rodata", ".bss", ".kconfig")


@dataclass(frozen=True, slots=True)
class Symbol:
    """Args: section: its name; "" if it is defined elsewhere."""

    name: str
    section: str
    value: int
    bytes: int
    is_function: bool
    is_weak: bool = False


@dataclass(frozen=True, slots=True)
class Extern:
    """A variable that whoever loads the object fills in: `extern int NAME __kconfig`.

    Args:
        offset: where it is among the others.
        type: its number in the object's BTF.
        is_weak: it is 0 where there is none.
    """

    name: str
    offset: int
    bytes: int
    type: int
    is_weak: bool


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """A map as the object defines it; sizes of 0 entries are chosen at loading."""

    name: str
    type: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int = 0
    pinned: bool = False


@dataclass(frozen=True)
class ProgramDefinition:
    """A program. Args: offset, bytes: of its instructions in its section."""

    name: str
    section: str
    offset: int
    bytes: int


@dataclass
class ObjectFile:
    """An object.

    Args:
        code: of each section with instructions.
        links: by section, then by the offset of an instruction: the symbol that it refers to.
        places: of variables in their sections, by name: the BTF of an object file does not have them yet.
        core: by section, then by the offset of an instruction: its CO-RE relocation.
        btf: None if it has none.
        kconfig: variables of the kernel's configuration, which `links` refer to in section `.kconfig`.
        initial: what maps begin with, of maps and of programs: map, number of the entry, name.
    """

    license: str = ""
    programs: list[ProgramDefinition] = field(default_factory=list)
    maps: list[MapDefinition] = field(default_factory=list)
    code: dict[str, bytes] = field(default_factory=dict)
    data: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, dict[int, Symbol]] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    core: dict[str, dict[int, Relocation]] = field(default_factory=dict)
    btf: Btf | None = None
    ext: BtfExt | None = None
    kconfig: list[Extern] = field(default_factory=list)
    initial: list[tuple[str, int, str]] = field(default_factory=list)

    @classmethod
    def parse(cls, elf: bytes) -> Self:
        """Read an object file.

        Raises:
            FormatError: it is no eBPF object, or is damaged.
        """
        try:
            return cls()._read(read_elf(elf))
        except (StructError, IndexError, ValueError) as error:
            raise FormatError("the eBPF object is damaged", str(error), "compile it again") from None

    def relocations(self) -> list[Relocation]:
        """All CO-RE relocations."""
        return [] if self.ext is None else list(self.ext.relocations)

    def _read(self, sections: list[ElfSection]) -> Self:
        symbols = _symbols(sections)
        for section in sections:
            if section.kind == _PROGBITS and section.flags & _EXECUTABLE and section.content:
                self.code[section.name] = section.content
            elif section.name.startswith(_DATA):
                self.data[section.name] = section.content
            elif section.name == "license":
                self.license = section.content.split(b"\0")[0].decode(errors="replace")
        for section in sections:
            if section.kind == _RELOCATIONS and section.info < len(sections):
                links = self.links.setdefault(sections[section.info].name, {})
                for at, info in _REL.iter_unpack(section.content):
                    links[at] = symbols[info >> 32]
        self.places = {one.name: one.value for one in symbols if one.section.startswith(_DATA)}
        self.programs = [
            ProgramDefinition(one.name, one.section, one.value, one.bytes)
            for one in symbols
            if one.is_function and one.section in self.code and one.section != ".text"
        ]
        self.programs.sort(key=lambda one: list(self.code).index(one.section) << 32 | one.offset)
        for program in self.programs:
            if program.bytes % 8 or program.offset + program.bytes > len(self.code[program.section]):
                raise StructError(f"program {program.name!r} does not lie inside its section")
        contents = {section.name: section.content for section in sections}
        if ".BTF" in contents:
            self.btf = Btf.parse(contents[".BTF"])
            self.maps = _maps(self.btf)
            self.initial = _initial(self.btf, symbols, self.links.get(".maps", {}))
            self._place_externs(self.btf, {one.name for one in symbols if one.is_weak})
            if ".BTF.ext" in contents:
                self.ext = BtfExt.parse(contents[".BTF.ext"], self.btf)
                for one in self.ext.relocations:
                    self.core.setdefault(one.section, {})[one.offset] = one
        self.maps += [
            MapDefinition(section.name, MapType.ARRAY, 4, len(section.content), 1)
            for section in sections
            if section.name.startswith(_DATA[:2]) and section.content
        ]
        # The BTF of an object file has neither the section's size nor places in it.
        size = max((one.value + one.bytes for one in symbols if one.section == ".bss"), default=0)
        if size:
            self.maps.append(MapDefinition(".bss", MapType.ARRAY, 4, size, 1))
        return self

    def _place_externs(self, btf: Btf, weak: set[str]) -> None:
        section = btf.find(_KCONFIG, Kind.DATASEC)
        at = 0
        for number, _, _ in section.variables if isinstance(section, Section) else ():
            variable = btf[number]
            if isinstance(variable, Variable):
                size = btf.bytes_of(variable.type)
                at = -(-at // 8) * 8
                self.kconfig.append(Extern(variable.name, at, size, variable.type, variable.name in weak))
                at += size
        places = {one.name: one for one in self.kconfig}
        for links in self.links.values():
            for offset, symbol in links.items():
                if not symbol.section and (one := places.get(symbol.name)):
                    links[offset] = Symbol(one.name, _KCONFIG, one.offset, one.bytes, is_function=False)


def _symbols(sections: list[ElfSection]) -> list[Symbol]:
    table = next((section for section in sections if section.kind == _SYMTAB), None)
    if table is None:
        return []
    names = sections[table.link].content
    found = []
    for name_at, info, _, index, value, size in _SYMBOL.iter_unpack(table.content):
        name = names[name_at : names.index(b"\0", name_at)].decode(errors="replace")
        section = sections[index].name if 0 < index < len(sections) else ""
        kind = info & 15
        found.append(
            Symbol(
                name or (section if kind == _SECTION_SYMBOL else ""),
                section,
                value,
                size,
                kind == _FUNCTION_SYMBOL,
                info >> 4 == _WEAK,
            )
        )
    return found


def _maps(btf: Btf) -> list[MapDefinition]:
    section = btf.find(".maps", Kind.DATASEC)
    found = []
    for number, _, _ in section.variables if isinstance(section, Section) else ():
        variable = btf[number]
        shape = btf.peel(variable.type) if isinstance(variable, Variable) else None
        if not isinstance(shape, Composite):
            raise FormatError("the eBPF object is damaged", f"map {variable.name!r} has no definition")
        of = {member.name: member.type for member in shape.members}
        numbers = {name: _number(btf, type_id) for name, type_id in of.items()}
        key, value = (
            numbers.get(f"{name}_size", 0) or _pointed(btf, of.get(name)) for name in ("key", "value")
        )
        entries, flags = numbers.get("max_entries", 0), numbers.get("map_flags", 0)
        pinned = bool(numbers.get("pinning"))
        found.append(MapDefinition(variable.name, numbers.get("type", 0), key, value, entries, flags, pinned))
    return found


def _initial(btf: Btf, symbols: list[Symbol], links: dict[int, Symbol]) -> list[tuple[str, int, str]]:
    """What `.values = { [number] = &it }` of maps refers to."""
    if not links:
        return []
    starts = sorted((one.value, one.name) for one in symbols if one.section == ".maps" and one.bytes)
    found = []
    for at, symbol in links.items():
        start, name = max(one for one in starts if one[0] <= at)
        variable = btf.find(name, Kind.VAR)
        shape = btf.peel(variable.type) if isinstance(variable, Variable) else None
        members = shape.members if isinstance(shape, Composite) else ()
        values = next((one.bit_offset // 8 for one in members if one.name == "values"), at - start)
        found.append((name, (at - start - values) // _ADDRESS_BYTES, symbol.name))
    return found


def _number(btf: Btf, type_id: int) -> int:
    """What `__uint(name, number)` hides in a type: a pointer to an array of so many."""
    pointer = btf.peel(type_id)
    array = btf.peel(pointer.type) if isinstance(pointer, Pointer) else None
    return array.count if isinstance(array, Array) else 0


def _pointed(btf: Btf, type_id: int | None) -> int:
    pointer = btf.peel(type_id) if type_id is not None else None
    return btf.bytes_of(pointer.type) if isinstance(pointer, Pointer) and pointer.type else 0
