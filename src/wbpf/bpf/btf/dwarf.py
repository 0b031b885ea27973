"""BTF made of DWARF, for kernels and programs that were built with the one but not with the other.

Needs pyelftools: `pip install 'wbpf[dwarf]'`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wbpf.bpf.btf import types as t
from wbpf.bpf.btf.encode import encode
from wbpf.errors import BpfError, FormatError

_REFERRING: dict[str, type[t.Referring]] = {
    "DW_TAG_pointer_type": t.Pointer,
    "DW_TAG_const_type": t.Const,
    "DW_TAG_volatile_type": t.Volatile,
    "DW_TAG_restrict_type": t.Restrict,
    "DW_TAG_typedef": t.Typedef,
}
_COMPOSITES: dict[str, type[t.Composite]] = {
    "DW_TAG_structure_type": t.Struct,
    "DW_TAG_class_type": t.Struct,
    "DW_TAG_union_type": t.Union,
}
_TOP = {*_COMPOSITES, "DW_TAG_enumeration_type", "DW_TAG_typedef", "DW_TAG_base_type", "DW_TAG_subprogram"}
_BOOLEAN, _FLOAT, _SIGNED = 2, 4, {5, 6}
_INDEX = "__ARRAY_SIZE_TYPE__"

Die = Any  # of pyelftools, which has no types; or None


def from_dwarf(path: Path) -> bytes:
    """The BTF of an ELF file with DWARF: structs, unions, enums, typedefs, pointers, arrays, functions.

    A type that many units of the file describe alike is there once.

    Raises:
        BpfError: pyelftools is not installed, or the file can't be read, or has no DWARF.
        FormatError: its DWARF is damaged.
    """
    try:
        from elftools.common.exceptions import DWARFError, ELFError
        from elftools.elf.elffile import ELFFile
    except ImportError:
        what = "BTF can't be made of DWARF"
        raise BpfError(what, "needs pyelftools", "pip install 'wbpf[dwarf]'") from None
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if not elf.has_dwarf_info(strict=True):
                hint = "compile with -g, or install the package with its debug symbols"
                raise BpfError(f"{str(path)!r} has no DWARF", "", hint)
            return encode(_Types(elf.get_dwarf_info()).made())
    except OSError as error:
        raise BpfError(
            f"{str(path)!r} can't be read", error.strerror or str(error), "check the path"
        ) from None
    except (ELFError, DWARFError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise FormatError(f"the DWARF of {str(path)!r} can't be read", str(error) or repr(error)) from None


class _Types:
    """Types by what they look like, so that each is there once."""

    def __init__(self, dwarf: Any) -> None:
        self._units = list(dwarf.iter_CUs())
        self._whole: dict[tuple[str, str], Die] = {}
        self._ids: dict[object, int] = {}
        self._made: list[t.Type | None] = []
        self._pending: list[tuple[int, Die]] = []
        self._looks: dict[int, object] = {}

    def made(self) -> list[t.Type]:
        tops = [die for unit in self._units for die in unit.get_top_DIE().iter_children() if die.tag in _TOP]
        for die in tops:
            if die.tag in _COMPOSITES and _name(die) and "DW_AT_declaration" not in die.attributes:
                self._whole.setdefault((die.tag, _name(die)), die)
        for die in tops:
            if die.tag == "DW_TAG_subprogram":
                self._function(die)
            else:
                self._id(die)
            while self._pending:
                number, one = self._pending.pop()
                self._made[number - 1] = self._composite(number, one)
        return [one for one in self._made if one is not None]

    def _id(self, die: Die) -> int:
        """The number of a type; 0 for void."""
        if die is None or die.tag == "DW_TAG_unspecified_type":
            return 0
        if "DW_AT_declaration" in die.attributes and die.tag in _COMPOSITES:
            die = self._whole.get((die.tag, _name(die)), die)
        look = self._look(die, 0)
        if look in self._ids:
            return self._ids[look]
        if die.tag in _COMPOSITES and "DW_AT_declaration" not in die.attributes:
            number = self._new(look)
            self._pending.append((number, die))
            return number
        number = self._new(look)
        self._made[number - 1] = self._other(number, die)
        return number

    def _new(self, look: object) -> int:
        self._made.append(None)
        self._ids[look] = len(self._made)
        return len(self._made)

    def _other(self, number: int, die: Die) -> t.Type:
        name = _name(die)
        if die.tag in _REFERRING:
            return _REFERRING[die.tag](number, name, self._id(_type(die)))
        if die.tag in _COMPOSITES:
            return t.Forward(number, name, die.tag == "DW_TAG_union_type")
        if die.tag == "DW_TAG_base_type":
            size, encoding = _number(die, "DW_AT_byte_size"), _number(die, "DW_AT_encoding")
            if encoding == _FLOAT:
                return t.Float(number, name, size)
            signed, is_bool = encoding in _SIGNED, encoding == _BOOLEAN
            return t.Int(number, name, size, signed, False, is_bool, 0, 8 * size)
        if die.tag == "DW_TAG_enumeration_type":
            values = tuple(
                (_name(one), _number(one, "DW_AT_const_value")) for one in _children(die, "enumerator")
            )
            size = _number(die, "DW_AT_byte_size") or 4
            signed = any(value < 0 for _, value in values)
            wide = any(not -(1 << 31) <= value < 1 << 32 for _, value in values)
            return (t.Enum64 if wide else t.Enum)(number, name, size, signed, values)
        if die.tag == "DW_TAG_array_type":
            counts = [_count(one) for one in _children(die, "subrange_type")] or [0]
            element, index = self._id(_type(die)), self._index()
            for at, count in reversed(list(enumerate(counts[1:], 1))):
                look = ("row", self._look(die, 0), at)
                inner = self._new(look)
                self._made[inner - 1] = t.Array(inner, "", element, index, count)
                element = inner
            return t.Array(number, "", element, index, counts[0])
        if die.tag == "DW_TAG_subroutine_type":
            return self._prototype(number, die)
        raise FormatError("DWARF can't be made BTF", f"it has a type of unknown kind {die.tag}")

    def _composite(self, number: int, die: Die) -> t.Composite:
        members = [
            t.Member(_name(one), self._id(_type(one)), *_place(one)) for one in _children(die, "member")
        ]
        return _COMPOSITES[die.tag](number, _name(die), _number(die, "DW_AT_byte_size"), tuple(members))

    def _prototype(self, number: int, die: Die) -> t.Prototype:
        parameters = [(_name(one), self._id(_type(one))) for one in _children(die, "formal_parameter")]
        if any(True for _ in _children(die, "unspecified_parameters")):
            parameters.append(("", 0))
        return t.Prototype(number, "", self._id(_type(die)), tuple(parameters))

    def _function(self, die: Die) -> None:
        name = _name(die)
        look = ("function", name, self._look_of_calls(die, 0))
        if not name or "DW_AT_declaration" in die.attributes or look in self._ids:
            return
        number = self._new(look)
        prototype = self._new(("prototype", *look))
        self._made[prototype - 1] = self._prototype(prototype, die)
        linkage = 1 if "DW_AT_external" in die.attributes else 0
        self._made[number - 1] = t.Function(number, name, prototype, linkage)

    def _index(self) -> int:
        if _INDEX not in self._ids:
            number = self._new(_INDEX)
            self._made[number - 1] = t.Int(number, _INDEX, 4, bits=32)
        return self._ids[_INDEX]

    def _look(self, die: Die, depth: int) -> object:
        """What tells a type from others, whichever unit describes it."""
        if die is None:
            return None
        known = self._looks.get(die.offset)
        if known is None:
            known = self._looks[die.offset] = self._looked(die, depth)
        return known

    def _looked(self, die: Die, depth: int) -> object:
        name = _name(die)
        if die.tag in _COMPOSITES:
            if "DW_AT_declaration" in die.attributes:
                return (die.tag, name)
            members = tuple((_name(one), *_place(one)) for one in _children(die, "member"))
            shape = (die.tag, name, _number(die, "DW_AT_byte_size"), members)
            if name:
                return shape
            return (*shape, tuple(self._look(_type(one), depth + 1) for one in _children(die, "member")))
        if die.tag == "DW_TAG_enumeration_type":
            values = [(_name(one), _number(one, "DW_AT_const_value")) for one in _children(die, "enumerator")]
            return (die.tag, name, tuple(values))
        if die.tag == "DW_TAG_base_type":
            return (die.tag, name, _number(die, "DW_AT_byte_size"), _number(die, "DW_AT_encoding"))
        if die.tag == "DW_TAG_array_type":
            counts = tuple(_count(one) for one in _children(die, "subrange_type"))
            return (die.tag, counts, self._look(_type(die), depth + 1))
        if die.tag == "DW_TAG_subroutine_type":
            return (die.tag, self._look_of_calls(die, depth))
        return (die.tag, name, self._look(_type(die), depth + 1))

    def _look_of_calls(self, die: Die, depth: int) -> object:
        parameters = [
            (_name(one), self._look(_type(one), depth + 1)) for one in _children(die, "formal_parameter")
        ]
        more = any(True for _ in _children(die, "unspecified_parameters"))
        return (tuple(parameters), more, self._look(_type(die), depth + 1))


def _name(die: Die) -> str:
    found = die.attributes.get("DW_AT_name")
    return found.value.decode(errors="replace") if found else ""


def _type(die: Die) -> Die:
    return die.get_DIE_from_attribute("DW_AT_type") if "DW_AT_type" in die.attributes else None


def _number(die: Die, attribute: str) -> int:
    found = die.attributes.get(attribute)
    return found.value if found and isinstance(found.value, int) else 0


def _children(die: Die, tag: str) -> Iterator[Die]:
    return (child for child in die.iter_children() if child.tag == f"DW_TAG_{tag}")


def _count(subrange: Die) -> int:
    if "DW_AT_count" in subrange.attributes:
        return _number(subrange, "DW_AT_count")
    bound = subrange.attributes.get("DW_AT_upper_bound")
    return bound.value + 1 if bound and isinstance(bound.value, int) and bound.value < 1 << 32 else 0


def _place(member: Die) -> tuple[int, int]:
    """A member's offset in bits, and its bits if it is a bit field."""
    offset = 8 * _number(member, "DW_AT_data_member_location")
    bits = _number(member, "DW_AT_bit_size")
    if "DW_AT_data_bit_offset" in member.attributes:
        offset += _number(member, "DW_AT_data_bit_offset")
    elif bits and "DW_AT_bit_offset" in member.attributes:  # counted from the other end
        one = _type(member)
        while one is not None and "DW_AT_byte_size" not in one.attributes:
            one = _type(one)
        size = _number(member, "DW_AT_byte_size") or (_number(one, "DW_AT_byte_size") if one else 4)
        offset += 8 * size - _number(member, "DW_AT_bit_offset") - bits
    return offset, bits
