"""CO-RE: what the relocations of an object become on a kernel, told from the kernel's BTF alone.

The rules are libbpf's (src/relo_core.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from wbpf.bpf.btf.access import Access, Missing, described, find_access, parse_access
from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.compatible import essential, same_kind, types_compatible, types_match
from wbpf.bpf.btf.ext import Relocation, RelocationKind
from wbpf.bpf.btf.types import Composite, Enum, Int, Type
from wbpf.bpf.nearest import nearest
from wbpf.errors import FormatError

K = RelocationKind
_EXISTS = {K.FIELD_EXISTS, K.TYPE_EXISTS, K.TYPE_MATCHES, K.ENUMVAL_EXISTS}
_OF_TYPES = {K.TYPE_ID_LOCAL, K.TYPE_ID_TARGET, K.TYPE_EXISTS, K.TYPE_BYTES, K.TYPE_MATCHES}
_OF_ENUMS = {K.ENUMVAL_EXISTS, K.ENUMVAL_VALUE}


@dataclass(frozen=True)
class Resolved:
    """What became of a relocation.

    Args:
        about: `struct task_struct.tgid`.
        value: None if there is none: the instruction is made one that the verifier refuses if it is reached.
        why: there is no value, or why something does not exist.
        target: the number of the kernel's type that it was found in.
    """

    relocation: Relocation
    about: str
    value: int | None
    why: str = ""
    target: int | None = None


class Resolver:
    """Resolves the relocations of objects against one kernel's types.

    Args:
        kernel: its BTF.
    """

    def __init__(self, kernel: Btf) -> None:
        self.kernel = kernel

    def resolve(self, local: Btf, relocation: Relocation) -> Resolved:
        """What one relocation of an object with the BTF `local` becomes.

        Raises:
            FormatError: the object is damaged.
        """
        kind, root = relocation.kind, local[relocation.type]
        if kind is K.TYPE_ID_LOCAL:
            return Resolved(relocation, described(local.peel(root.id)), relocation.type)
        if not root.name:
            raise FormatError("the object's relocations are damaged", f"type {root.id} has no name")
        if kind in _OF_TYPES:
            about = described(root)
            found = [(one.id, self._type_value(kind, local, root, one)) for one in self.candidates(root)]
            return self._chosen(relocation, about, found, root, "")
        if kind in _OF_ENUMS:
            return self._resolve_enum(local, relocation, root)
        access = parse_access(local, root.id, relocation.access)
        fields: list[tuple[int, int | None]] = []
        missing = Missing("")
        for one in self.candidates(root):
            way = find_access(access, self.kernel, one.id)
            if isinstance(way, Missing):
                missing = missing if missing.why else way
            else:
                fields.append((one.id, self._field_value(kind, way)))
        return self._chosen(relocation, str(access), fields, root, self._explained(missing))

    def candidates(self, local: Type) -> Iterator[Type]:
        """The kernel's types of that name, whatever the flavour of either."""
        name = essential(local.name)
        for candidate in [name, *self._flavoured.get(name, ())]:
            for one in self.kernel.find_all(candidate):
                if same_kind(one, local):
                    yield one

    @cached_property
    def _flavoured(self) -> dict[str, list[str]]:
        """The names with flavours in the kernel's BTF, by what they are flavours of."""
        found: dict[str, list[str]] = {}
        btf: Btf | None = self.kernel
        while btf:
            for name in btf.names:
                if "___" in name and (plain := essential(name)) != name:
                    found.setdefault(plain, []).append(name)
            btf = btf.base
        return {plain: sorted(set(names)) for plain, names in found.items()}

    def _type_value(self, kind: K, local: Btf, root: Type, one: Type) -> int | None:
        if kind is K.TYPE_MATCHES:
            return 1 if types_match(local, root.id, self.kernel, one.id) else None
        if not types_compatible(local, root.id, self.kernel, one.id):
            return None
        if kind is K.TYPE_EXISTS:
            return 1
        return self.kernel.bytes_of(one.id) if kind is K.TYPE_BYTES else one.id

    def _resolve_enum(self, local: Btf, relocation: Relocation, root: Type) -> Resolved:
        one = local.peel(root.id)
        index = int(relocation.access) if relocation.access.isdecimal() else -1
        if not isinstance(one, Enum) or not 0 <= index < len(one.values):
            raise FormatError("the object's relocations are damaged", f"{root.name!r} has no value {index}")
        name = essential(one.values[index][0])
        found: list[tuple[int, int | None]] = []
        values: list[str] = []
        for candidate in self.candidates(root):
            there = self.kernel.peel(candidate.id)
            if isinstance(there, Enum):
                values += [each for each, _ in there.values]
                matching = next((value for each, value in there.values if essential(each) == name), None)
                exists = relocation.kind is K.ENUMVAL_EXISTS
                found.append((candidate.id, 1 if exists and matching is not None else matching))
        why = f"{described(one)} has no {name!r}{_did_you_mean(name, values)}" if values else ""
        return self._chosen(relocation, f"{described(one)} {name}", found, root, why)

    def _field_value(self, kind: K, way: Access) -> int:
        btf, member = way.btf, way.member
        if kind is K.FIELD_EXISTS:
            return 1
        last = way.steps[-1]
        if not last.name or member is None:
            if kind is K.FIELD_OFFSET:
                return way.bit_offset // 8
            if kind is K.FIELD_BYTES:
                return btf.bytes_of(last.type)
            raise FormatError("the object's relocations are damaged", f"{way} is no field")
        one = btf.peel(member.type)
        bits = member.bits
        at = way.bit_offset
        size = btf.bytes_of(member.type)
        offset = at // 8
        if bits:
            size = one.bytes if isinstance(one, Int | Enum) else size
            offset = at // 8 // size * size
            while at + bits - 8 * offset > 8 * size:
                if size >= 8:
                    raise FormatError(
                        "the BTF is damaged", f"bit field {member.name!r} can't be read at once"
                    )
                size *= 2
                offset = at // 8 // size * size
        else:
            bits = 8 * size
        values = {
            K.FIELD_OFFSET: offset,
            K.FIELD_BYTES: size,
            K.FIELD_SIGNED: int(isinstance(one, Int | Enum) and one.signed),
            K.FIELD_LSHIFT: 64 - (at + bits - 8 * offset),
            K.FIELD_RSHIFT: 64 - bits,
        }
        return values[kind]

    def _chosen(
        self, relocation: Relocation, about: str, found: list[tuple[int, int | None]], root: Type, why: str
    ) -> Resolved:
        """The one value that all candidates agree on."""
        matching = [(target, value) for target, value in found if value is not None]
        if matching:
            target, value = matching[0]
            # The kernel may have a type twice; its number then is not ambiguous, but that of the first.
            if relocation.kind is not K.TYPE_ID_TARGET and len({value for _, value in matching}) > 1:
                values = sorted({value for _, value in matching if value is not None})
                return Resolved(relocation, about, None, f"the kernel has several {about}: {values}")
            if relocation.kind is K.TYPE_ID_TARGET and len(matching) > 1:
                return Resolved(relocation, about, None, f"the kernel has several {about}")
            return Resolved(relocation, about, value, target=target)
        if not found and not why:
            why = f"the kernel has no {described(root)}{self._near_type(root)}"
        why = why or f"the kernel's {about} is another type"
        return Resolved(relocation, about, 0 if relocation.kind in _EXISTS else None, why)

    def _near_type(self, root: Type) -> str:
        names, btf = set[str](), self.kernel
        while True:
            ids = ((name, numbers[0]) for name, numbers in btf.names.items())
            names |= {name for name, number in ids if btf.kind(number) == root.kind}
            if btf.base is None:
                return _did_you_mean(essential(root.name), names)
            btf = btf.base

    def _explained(self, missing: Missing) -> str:
        if not missing.name:
            return missing.why
        return missing.why + _did_you_mean(missing.name, _member_names(self.kernel, missing.holder, 0))


def _member_names(btf: Btf, holder: int, depth: int) -> set[str]:
    one, names = btf.peel(holder), set[str]()
    if isinstance(one, Composite) and depth < 32:
        for member in one.members:
            names |= {member.name} if member.name else _member_names(btf, member.type, depth + 1)
    return names


def _did_you_mean(name: str, names: object) -> str:
    near = nearest(name, names) if isinstance(names, set | list) else None
    return f"; did you mean {near!r}?" if near else ""
