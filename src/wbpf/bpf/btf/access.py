"""The ways through types that CO-RE relocations speak of: `task_struct.mm.pgd`, parsed and found again.

The rules are libbpf's (src/relo_core.c), so that both say the same of an object.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.compatible import fields_compatible
from wbpf.bpf.btf.types import Array, Composite, Enum, Kind, Member, Type
from wbpf.errors import FormatError


@dataclass(frozen=True, slots=True)
class Step:
    """One step: into a member that has a name, or to an element of an array (name "")."""

    type: int
    index: int
    name: str = ""


@dataclass
class Access:
    """A way: where it starts, its steps, and where it ends.

    Args:
        root: the type's number, without typedefs around it.
        end: the number of the type that it leads to.
        member: the last one, if the last step was into a member.
    """

    btf: Btf
    root: int
    end: int
    steps: list[Step] = field(default_factory=list)
    bit_offset: int = 0
    member: Member | None = None

    def __str__(self) -> str:
        text = described(self.btf[self.root])
        for step in self.steps[1:]:
            text += f".{step.name}" if step.name else f"[{step.index}]"
        return text


@dataclass(frozen=True)
class Missing:
    """Why a way does not exist in another BTF.

    Args:
        holder: the number of the struct that lacks it.
        name: of the member that is missing; "" if it is something else.
    """

    why: str
    holder: int = 0
    name: str = ""


def described(one: Type) -> str:
    """A type in words: `struct task_struct`."""
    word = "enum" if isinstance(one, Enum) else one.kind.name.lower()
    plain = one.kind in (Kind.INT, Kind.FLOAT)
    return one.name if plain else f"{word} {one.name or '(without a name)'}"


def parse_access(btf: Btf, root: int, text: str) -> Access:
    """The way that an object's relocation gives, in its own types.

    Raises:
        FormatError: it does not lead anywhere.
    """
    try:
        numbers = [int(part) for part in text.split(":")]
    except ValueError:
        raise _wrong(text) from None
    way = _start(btf, root, numbers[0])
    for number in numbers[1:]:
        one = btf.peel(way.end)
        if isinstance(one, Composite) and number < len(one.members):
            member = one.members[number]
            way.bit_offset += member.bit_offset
            way.end = member.type
            if member.name:
                way.steps.append(Step(one.id, number, member.name))
                way.member = member
        elif isinstance(one, Array) and _in_array(btf, way, one, number):
            _to_element(btf, way, one, number)
        else:
            raise _wrong(text)
    return way


def find_access(local: Access, btf: Btf, root: int) -> Access | Missing:
    """The same way in another BTF, from one of its types; or why there is none."""
    way = _start(btf, btf.peel(root).id, local.steps[0].index)
    for step in local.steps[1:]:
        one = btf.peel(way.end)
        if step.name:
            if not isinstance(one, Composite):
                return Missing(f"{described(one)} is no struct or union")
            wanted = local.btf.peel(step.type)
            assert isinstance(wanted, Composite)
            missing = _to_member(local.btf, wanted.members[step.index], way, one, 0)
            if missing is not None:
                return missing
        elif isinstance(one, Array) and _in_array(btf, way, one, step.index):
            _to_element(btf, way, one, step.index)
        else:
            return Missing(f"{described(one)} is no array with an element {step.index}")
    return way


def _start(btf: Btf, root: int, index: int) -> Access:
    one = btf.peel(root)
    way = Access(btf, one.id, one.id, [Step(one.id, index)])
    if index:
        way.bit_offset = 8 * index * btf.bytes_of(one.id)
    return way


def _to_element(btf: Btf, way: Access, one: Array, index: int) -> None:
    element = btf.peel(one.type).id
    way.steps.append(Step(element, index))
    way.bit_offset += 8 * index * btf.bytes_of(element)
    way.end, way.member = element, None


def _in_array(btf: Btf, way: Access, one: Array, index: int) -> bool:
    """Whether the array has that element, or is the last member, which is longer than it says."""
    if index < one.count:
        return True
    if one.count or not way.steps or way.member is None:
        return False
    holder = btf.peel(way.steps[-1].type)
    return isinstance(holder, Composite) and holder.members[-1] == way.member


def _to_member(local: Btf, wanted: Member, way: Access, one: Composite, depth: int) -> Missing | None:
    """Go into the member of this name, of `one` or of what in it has no name."""
    if depth > 32:
        raise FormatError("the BTF is damaged", f"{one.name!r} contains itself")
    for index, member in enumerate(one.members):
        if member.name == wanted.name:
            if not fields_compatible(local, wanted.type, way.btf, member.type):
                here, there = described(local.peel(wanted.type)), described(way.btf.peel(member.type))
                why = f"{member.name!r} of {described(one)} is of another kind: {there}, not {here}"
                return Missing(why)
            way.steps.append(Step(one.id, index, member.name))
            way.bit_offset += member.bit_offset
            way.end, way.member = member.type, member
            return None
        inner = way.btf.peel(member.type) if not member.name else None
        if isinstance(inner, Composite):
            before = way.bit_offset
            way.bit_offset += member.bit_offset
            missing = _to_member(local, wanted, way, inner, depth + 1)
            if missing is None or not missing.name:
                return missing
            way.bit_offset = before
    return Missing(f"{described(one)} has no field {wanted.name!r}", one.id, wanted.name)


def _wrong(text: str) -> FormatError:
    return FormatError("the object's relocations are damaged", f"{text!r} is no way through its types")
