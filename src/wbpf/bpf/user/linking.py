"""The instructions of a program of an object file: functions joined; maps, variables, types filled in."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct as Layout

from wbpf.bpf.btf import Relocation
from wbpf.bpf.btf.ext import LineInfo
from wbpf.bpf.object_file import ObjectFile, ProgramDefinition, Symbol
from wbpf.bpf.user.isa import POISON, Call, Wide
from wbpf.bpf.user.types import Sources
from wbpf.errors import BpfError

_INSN = Layout("<BBhi")
_TEXT = ".text"
_CALL, _WIDE = 0x85, 0x18


class Linker:
    """Links the programs of one object.

    Args:
        slots: of the maps, by name; sections of variables are maps.
        types: what CO-RE relocations are resolved against.
    """

    def __init__(self, file: ObjectFile, name: str, slots: Mapping[str, int], types: Sources) -> None:
        self._file, self._name, self._slots = file, name, slots
        self._types = types

    def link(self, program: ProgramDefinition) -> bytes:
        """All instructions of a program.

        Raises:
            BpfError: it refers to what is not there.
        """
        code = self._file.code[program.section][program.offset : program.offset + program.bytes]
        main = bytearray(code)
        text = bytearray(self._file.code.get(_TEXT, b"") if self._calls(program) else b"")
        self._relocate(main, program.section, program.offset, len(main))
        self._relocate(text, _TEXT, 0, 0)
        return bytes(main + text)

    def line(self, program: ProgramDefinition, at: int) -> LineInfo | None:
        """The source line of an instruction of a linked program, if the object tells."""
        if self._file.ext is None:
            return None
        if at * 8 < program.bytes:
            return self._file.ext.line(program.section, program.offset + at * 8)
        return self._file.ext.line(_TEXT, at * 8 - program.bytes)

    def _calls(self, program: ProgramDefinition) -> bool:
        links = self._file.links.get(program.section, {})
        inside = range(program.offset, program.offset + program.bytes)
        return any(symbol.section == _TEXT for at, symbol in links.items() if at in inside)

    def _relocate(self, code: bytearray, section: str, start: int, text_at: int) -> None:
        """Fill in what is known now; `text_at`: where .text is, from the beginning of `code`."""
        for at, relocation in self._file.core.get(section, {}).items():
            if start <= at < start + len(code):
                self._resolve(code, at - start, relocation)
        for at, symbol in self._file.links.get(section, {}).items():
            if start <= at < start + len(code):
                self._refer(code, at - start, symbol, text_at)

    def _refer(self, code: bytearray, at: int, symbol: Symbol, text_at: int) -> None:
        opcode, registers, off, imm = _INSN.unpack_from(code, at)
        if opcode == _CALL and symbol.section == _TEXT:
            target = text_at // 8 + symbol.value // 8 + imm + 1
            _INSN.pack_into(code, at, opcode, registers, off, target - at // 8 - 1)
            return
        if opcode == _CALL and not symbol.section:  # a program that comes there is refused
            _INSN.pack_into(code, at, opcode, Call.KFUNC << 4, 0, 0)
            return
        if opcode != _WIDE:
            raise self._lacks(symbol, "an instruction can't refer to it")
        high = 0
        if not symbol.section and symbol.is_weak:  # bpf_ksym_exists()
            kind, low = Wide.NUMBER, 0
        elif symbol.section == _TEXT:
            kind, low = Wide.CODE, text_at // 8 + (symbol.value + imm) // 8 - at // 8 - 1
        elif symbol.section == ".maps" and symbol.name in self._slots:
            kind, low = Wide.MAP_INDEX, self._slots[symbol.name]
        elif symbol.section in self._slots:
            kind, low, high = Wide.MAP_INDEX_VALUE, self._slots[symbol.section], symbol.value + imm
        else:
            raise self._lacks(
                symbol, "user space has no such thing" if not symbol.section else "it is no map"
            )
        _INSN.pack_into(code, at, opcode, registers & 15 | kind << 4, off, low)
        _INSN.pack_into(code, at + 8, 0, 0, 0, high)

    def _lacks(self, symbol: Symbol, why: str) -> BpfError:
        return BpfError(f"object {self._name!r} can't be linked", f"it refers to {symbol.name!r}: {why}")

    def _resolve(self, code: bytearray, at: int, relocation: Relocation) -> None:
        assert self._file.btf is not None
        value = self._types.resolve(self._file.btf, relocation).value
        opcode, registers, off, imm = _INSN.unpack_from(code, at)
        if value is None:
            _INSN.pack_into(code, at, _CALL, 0, 0, POISON)
            if opcode == _WIDE:
                _INSN.pack_into(code, at + 8, _CALL, 0, 0, POISON)
        elif opcode == _WIDE:
            low = value & 0xFFFFFFFF
            _INSN.pack_into(code, at, opcode, registers, off, low - (low >> 31 << 32))
            _INSN.pack_into(code, at + 8, 0, 0, 0, value >> 32)
        elif opcode & 7 in (1, 2, 3):
            _INSN.pack_into(code, at, opcode, registers, value, imm)
        else:
            _INSN.pack_into(code, at, opcode, registers, off, value)
