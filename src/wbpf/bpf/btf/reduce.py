"""A kernel's BTF with nothing but what CO-RE relocations of objects need: kilobytes in place of megabytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wbpf.bpf.btf import types as t
from wbpf.bpf.btf.access import Access, Missing, find_access, parse_access
from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.core import Resolver
from wbpf.bpf.btf.encode import encode
from wbpf.bpf.btf.ext import Relocation, RelocationKind
from wbpf.bpf.btf.references import references
from wbpf.errors import FormatError

K = RelocationKind
_FIELDS = {K.FIELD_OFFSET, K.FIELD_BYTES, K.FIELD_EXISTS, K.FIELD_SIGNED, K.FIELD_LSHIFT, K.FIELD_RSHIFT}
_DEPTH = 32


def reduce(kernel: Btf, objects: Iterable[tuple[Btf, Iterable[Relocation]]]) -> bytes:
    """The BTF of a kernel, as far as objects need it.

    CO-RE relocations become the same by it as by the whole, but for a type's number in the kernel. What
    programs attach to (`fentry`, `tp_btf`, `lsm`) is not in it. Both need a kernel that has BTF itself.

    Args:
        kernel: its whole BTF.
        objects: each object's BTF with its relocations.

    Raises:
        FormatError: an object or the BTF is damaged.
    """
    kept = _Kept(kernel)
    for local, relocations in objects:
        for relocation in relocations:
            kept.keep(local, relocation)
    return encode(kept.types())


class _Kept:
    """Types that stay, and of structs the members that stay."""

    def __init__(self, kernel: Btf) -> None:
        self._kernel = kernel
        self._resolver = Resolver(kernel)
        self._whole: set[int] = set()
        self._members: dict[int, set[int]] = {}

    def keep(self, local: Btf, relocation: Relocation) -> None:
        if relocation.kind is K.TYPE_ID_LOCAL:
            return
        root = local[relocation.type]
        way = parse_access(local, root.id, relocation.access) if relocation.kind in _FIELDS else None
        for one in self._resolver.candidates(root):
            if relocation.kind is K.TYPE_MATCHES:
                self._keep_whole(one.id, 0)
            elif way is None:
                self._keep_shell(self._kernel.peel(one.id).id)
                self._keep_shell(one.id)
            else:
                self._keep_access(way, one.id)

    def _keep_access(self, wanted: Access, root: int) -> None:
        way = find_access(wanted, self._kernel, root)
        self._keep_shell(root)
        if isinstance(way, Missing):
            return  # the struct stays, so that it is still its field that is missing
        for step in way.steps[1:]:
            one = self._kernel.peel(step.type)
            if step.name and isinstance(one, t.Composite):
                self._members.setdefault(one.id, set()).add(step.index)
                self._keep_shell(one.members[step.index].type)
                self._keep_unnamed_around(root, one.id)
        self._keep_shell(way.end)

    def _keep_unnamed_around(self, root: int, inner: int) -> None:
        """Members without a name that lead to a struct: they are no steps of their own."""
        todo = [self._kernel.peel(root).id, *self._members]
        seen: set[int] = set()
        while todo:
            number = todo.pop()
            one = self._kernel.peel(number)
            if number in seen or not isinstance(one, t.Composite):
                continue
            seen.add(number)
            for index, member in enumerate(one.members):
                if not member.name and self._leads_to(member.type, inner, 0):
                    self._members.setdefault(one.id, set()).add(index)
                    self._keep_shell(member.type)
                    todo.append(self._kernel.peel(member.type).id)

    def _leads_to(self, number: int, inner: int, depth: int) -> bool:
        one = self._kernel.peel(number)
        if depth > _DEPTH or not isinstance(one, t.Composite):
            return False
        return one.id == inner or any(
            not member.name and self._leads_to(member.type, inner, depth + 1) for member in one.members
        )

    def _keep_shell(self, number: int) -> None:
        """A type without the members of structs that nobody asked for."""
        todo = [number]
        while todo:
            number = todo.pop()
            one = self._kernel[number]
            if number == 0 or number in self._whole:
                continue
            if isinstance(one, t.Composite):
                self._members.setdefault(number, set())
                continue
            self._whole.add(number)
            todo += references(one)

    def _keep_whole(self, number: int, depth: int) -> None:
        """A type with its members, and those of structs inside it; structs behind pointers are shells."""
        one = self._kernel.peel(number)
        self._keep_shell(number)
        if isinstance(one, t.Array) and depth < _DEPTH:
            self._keep_whole(one.type, depth + 1)
        if isinstance(one, t.Composite) and depth < _DEPTH:
            self._members[one.id] = set(range(len(one.members)))
            for member in one.members:
                self._keep_whole(member.type, depth + 1)

    def types(self) -> list[t.Type]:
        numbers = sorted(self._whole | set(self._members))
        new = {0: 0} | {old: at for at, old in enumerate(numbers, 1)}
        return [self._renumbered(self._kernel[old], new) for old in numbers]

    def _renumbered(self, one: t.Type, new: dict[int, int]) -> t.Type:
        number = new[one.id]
        if isinstance(one, t.Composite):
            kept = sorted(self._members[one.id])
            members = tuple(replace(one.members[i], type=new[one.members[i].type]) for i in kept)
            return replace(one, id=number, members=members)
        if isinstance(one, t.Referring):
            return replace(one, id=number, type=new[one.type])
        if isinstance(one, t.Array):
            return replace(one, id=number, type=new[one.type], index_type=new[one.index_type])
        if isinstance(one, t.Prototype):
            parameters = tuple((name, new[of]) for name, of in one.parameters)
            return replace(one, id=number, result=new[one.result], parameters=parameters)
        if isinstance(one, t.Section):
            raise FormatError("the BTF is damaged", f"a relocation speaks of section {one.name!r}")
        return replace(one, id=number)
