"""From LLVM assembly to a blob: position-independent machine code that calls nothing by name."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import llvmlite.binding as llvm
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from wbpf.bpf.user.translate import module
from wbpf.errors import BpfError

ARCHITECTURES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
_SLOW_ABOVE, _PLAIN_ABOVE = 5_000, 50_000  # instructions from which less is optimised
_PC32, _PLT32 = 2, 4  # R_X86_64_*
_ARM_RELATIVE = {
    274: "adr",
    275: "page",
    277: "low",
    278: "low",
    282: "branch",
    283: "branch",
    284: "low",
    285: "low",
    286: "low",
    299: "low",
}
_ALLOC = 2


@dataclass(frozen=True, slots=True)
class Blob:
    """Translated programs.

    Args:
        code: may be mapped at any page.
        entries: offsets of the programs in it, by name.
    """

    arch: str
    code: bytes
    entries: Mapping[str, int]


def triple(arch: str) -> str:
    """The target's name for LLVM.

    Raises:
        BpfError: code for this architecture can't be made.
    """
    if arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BpfError(f"code for {arch!r} can't be made", "it is not supported", f"use one of {known}")
    return ARCHITECTURES[arch]


@cache
def _machine(arch: str, level: int) -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple(arch))
    return target.create_target_machine(
        cpu="generic" if arch == "aarch64" else "x86-64-v2", opt=level, reloc="pic", codemodel="small"
    )


def compile_blob(programs: Mapping[str, str], count: int, arch: str = platform.machine()) -> Blob:
    """Compile translated programs.

    Args:
        programs: LLVM assembly of `translate`, by name.
        count: instructions that they were made from: many are optimised less, so that the time stays bounded.
        arch: as `platform.machine()` says it.

    Raises:
        BpfError: the architecture is not known, or the code would need something outside of it.
    """
    level = 2 if count <= _SLOW_ABOVE else 1 if count <= _PLAIN_ABOVE else 0
    machine = _machine(arch, level)
    parsed = llvm.parse_assembly(module(programs.values(), triple(arch)))
    parsed.verify()
    options = llvm.PipelineTuningOptions(speed_level=level)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = level == 2
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(parsed, builder)
    return _link(machine.emit_object(parsed), arch, programs)


def _link(elf: bytes, arch: str, programs: Iterable[str]) -> Blob:
    """Lay out the sections one behind the other, and fill in the distances between them."""
    file = ELFFile(BytesIO(elf))
    places: dict[int, int] = {}
    code = bytearray()
    kept = [(n, section) for n, section in enumerate(file.iter_sections()) if section["sh_flags"] & _ALLOC]
    for number, section in sorted(kept, key=lambda item: item[1].name != ".text"):
        if section.name == ".eh_frame" or not section["sh_size"]:
            continue
        code += bytes(-len(code) % max(section["sh_addralign"], 1))
        places[number] = len(code)
        code += section.data()
    table = file.get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    symbols = list(table.iter_symbols())
    for section in file.iter_sections():
        if not isinstance(section, RelocationSection) or section["sh_info"] not in places:
            continue
        for relocation in section.iter_relocations():
            symbol = symbols[relocation["r_info_sym"]]
            if symbol["st_shndx"] not in places:
                name = symbol.name or "a section"
                raise BpfError("the program can't be compiled", f"its code would need {name!r} from outside")
            at = places[section["sh_info"]] + relocation["r_offset"]
            to = places[symbol["st_shndx"]] + symbol["st_value"] + relocation["r_addend"]
            _relocate(code, arch, relocation["r_info_type"], at, to)
    named = {symbol.name: symbol for symbol in symbols}
    entries = {name: places[named[name]["st_shndx"]] + named[name]["st_value"] for name in programs}
    return Blob(arch, bytes(code), entries)


def _relocate(code: bytearray, arch: str, kind: int, at: int, to: int) -> None:
    if arch == "x86_64" and kind in (_PC32, _PLT32):
        code[at : at + 4] = (to - at).to_bytes(4, "little", signed=True)
        return
    if arch == "aarch64" and kind in _ARM_RELATIVE:
        word = int.from_bytes(code[at : at + 4], "little")
        code[at : at + 4] = _arm(_ARM_RELATIVE[kind], word, at, to, kind).to_bytes(4, "little")
        return
    raise BpfError("the program can't be compiled", f"relocation {kind} of {arch} is not known")


def _arm(how: str, word: int, at: int, to: int, kind: int) -> int:
    """ELF for the Arm 64-bit Architecture, section 5.7: ADR, ADRP, the low 12 bits, branches."""
    if how == "branch":
        return word | (to - at) >> 2 & 0x3FFFFFF
    if how == "low":
        scale = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}[kind]
        return word | ((to & 0xFFF) >> scale) << 10
    distance = (to >> 12) - (at >> 12) if how == "page" else to - at
    return word | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5
