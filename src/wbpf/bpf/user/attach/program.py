"""A program for other processes: translated here, with memory that they and this one share."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from wbpf.bpf.user.compiling import Blob, compile_blob
from wbpf.bpf.user.flow import analyse
from wbpf.bpf.user.isa import Wide, decode
from wbpf.bpf.user.slots import Slots
from wbpf.bpf.user.translate import translate
from wbpf.bpf.user.verifier import Context, MapModel, verify
from wbpf.errors import BpfError, FormatError

#: `struct wbpf_probe_context`: eight arguments and how many there are.
PROBE_CONTEXT = Context(72)
_ARRAY, _VARIABLES, _ENTRY = 2, (".bss", ".data", ".rodata"), "program"
_BPF_64_64, _NO_BITS, _WIDE = 1, "SHT_NOBITS", 0x18


class Memory:
    """Memory that several processes map: a sealed memfd.

    Args:
        content: what is in it at first.
    """

    def __init__(self, content: bytes) -> None:
        self.bytes = max(len(content) + 7 & ~7, 8)
        self.fd = os.memfd_create("wbpf-values", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.posix_fallocate(self.fd, 0, self.bytes)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        self.view = memoryview(mmap.mmap(self.fd, self.bytes))
        self.view[: len(content)] = content

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


@dataclass(frozen=True, slots=True)
class AttachedProgram:
    """A translated program with its memory, ready for any process of this machine.

    Args:
        helpers: numbers of those that it calls, by slots.
        memories: its maps, by slots; each is one value.
        variables: of its source: the bytes that the program sees.
        checked: parts of it are checked while it runs.
    """

    blob: Blob
    helpers: tuple[int, ...]
    memories: tuple[Memory, ...]
    variables: Mapping[str, memoryview]
    checked: bool

    @property
    def entry(self) -> int:
        """Where it begins in the code."""
        return self.blob.entries[_ENTRY]

    def number(self, variable: str) -> int:
        """The value of a variable that is an unsigned number."""
        return int.from_bytes(self.variables[variable], "little")

    @classmethod
    def from_code(
        cls,
        code: bytes,
        memories: Sequence[Memory] = (),
        variables: Mapping[str, memoryview] | None = None,
        *,
        context: Context = PROBE_CONTEXT,
        checks: bool = False,
    ) -> AttachedProgram:
        """Translate instructions.

        Args:
            code: in which a wide load of kind 6 names a memory by its slot.
            memories: by slots.
            variables: where they are.
            context: what r1 points to.
            checks: check what can't be proved while it runs; else it is refused.

        Raises:
            FormatError: an instruction is not of the set, or control goes wrong.
            BpfError: it can't be proved to be safe.
        """
        flow = analyse(decode(code))
        models = [
            MapModel(f"memory{n}", _ARRAY, 4, memory.bytes, 1, inline=memory.bytes)
            for n, memory in enumerate(memories)
        ]
        verdict = verify(flow, context, models)
        refused = verdict.fatal or ([] if checks else verdict.problems)
        if refused:
            hint = "" if verdict.fatal else "attach it with checks"
            raise BpfError("the program is not proved to be safe", str(refused[0]), hint)
        slots = Slots()
        blob = compile_blob({_ENTRY: translate(_ENTRY, flow, slots, verdict.proof)}, len(code) // 8)
        complete = verdict.proof.complete
        return cls(blob, tuple(slots.helpers), tuple(memories), dict(variables or {}), not complete)

    @classmethod
    def from_object(cls, elf: bytes, section: str, *, checks: bool = False) -> AttachedProgram:
        """Translate the program in a section of an object file; its global variables are shared.

        Raises:
            FormatError: it is damaged, or uses maps, which need more than variables.
            BpfError: there is no such section, or the program can't be proved to be safe.
        """
        file = ELFFile(BytesIO(elf))
        found = file.get_section_by_name(section)
        if found is None:
            names = [s.name for s in file.iter_sections() if s["sh_flags"] & 4 and s["sh_size"]]
            raise BpfError(f"there is no program {section!r}", f"the object has {', '.join(names) or 'none'}")
        code = bytearray(found.data())
        slots: dict[int, int] = {}
        memories: list[Memory] = []
        for index, part in enumerate(file.iter_sections()):
            if part.name.startswith(_VARIABLES) and part["sh_size"]:
                slots[index] = len(memories)
                empty = part["sh_type"] == _NO_BITS
                memories.append(Memory(bytes(part["sh_size"]) if empty else part.data()))
        table = file.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = list(table.iter_symbols())
        for relocation in _relocations(file, section):
            symbol = symbols[relocation["r_info_sym"]]
            _relocate(code, relocation, symbol, slots)
        variables = {
            symbol.name: memories[slots[index]].view[symbol["st_value"] :][: symbol["st_size"]]
            for symbol in symbols
            if (index := symbol["st_shndx"]) in slots and symbol["st_info"]["type"] == "STT_OBJECT"
        }
        return cls.from_code(bytes(code), memories, variables, checks=checks)


def _relocations(file: ELFFile, section: str) -> list[Any]:
    found = file.get_section_by_name(f".rel{section}")
    return list(found.iter_relocations()) if isinstance(found, RelocationSection) else []


def _relocate(code: bytearray, relocation: Any, symbol: Any, slots: Mapping[int, int]) -> None:
    """A wide load of a variable's address: the slot, and how far in."""
    at = relocation["r_offset"]
    slot = slots.get(symbol["st_shndx"])
    if relocation["r_info_type"] != _BPF_64_64 or slot is None or code[at] != _WIDE:
        raise FormatError(
            f"the program can't be attached: it refers to {symbol.name or 'another section'!r}",
            "only global variables can be shared with another process so far",
        )
    offset = symbol["st_value"] + int.from_bytes(code[at + 4 : at + 8], "little")
    code[at + 1] = code[at + 1] & 0xF | Wide.MAP_INDEX_VALUE << 4
    code[at + 4 : at + 8] = slot.to_bytes(4, "little")
    code[at + 12 : at + 16] = offset.to_bytes(4, "little")
