"""BTF, the kernel's description of its own types: read, and found by name.

Types are decoded when they are asked for: the kernel's has over a hundred thousand.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct as Layout
from typing import TYPE_CHECKING, Self

from wbpf.bpf.btf.decode import EXTRA_WORDS, decode
from wbpf.bpf.btf.types import TRANSPARENT, Kind, Referring, Type, Void
from wbpf.errors import BpfError, FormatError

if TYPE_CHECKING:
    from wbpf.bpf.btf.layout import Field

_MAGIC = 0xEB9F
_HEADER = Layout("<HBBIIIII")
_KERNEL = Path("/sys/kernel/btf")
#: How many typedefs and modifiers may follow each other; no compiler writes so many.
_CHAIN = 64

_VOID = Void(0, "")


class Btf:
    """All types of a kernel, a module or an object.

    Args:
        content: the bytes, as in `/sys/kernel/btf/vmlinux` or the section `.BTF`.
        base: the kernel's, for a module's.

    Raises:
        FormatError: these bytes are no BTF.
    """

    def __init__(self, content: bytes, base: Btf | None = None) -> None:
        self.base = base
        self._first = base.count if base else 1
        self._strings_from = base.string_bytes if base else 0
        types, self._strings = _parts(content)
        self._words = memoryview(types).cast("I")
        self._at = self._index()
        self._decoded: dict[int, Type] = {}
        self._names: dict[str, list[int]] | None = None

    @classmethod
    def parse(cls, content: bytes, base: Btf | None = None) -> Self:
        """Read BTF; see the class."""
        return cls(content, base)

    @classmethod
    def of_kernel(cls, module: str | None = None) -> Btf:
        """The running kernel's, or that of one of its modules.

        Raises:
            BpfError: the kernel does not describe its types, or there is no such module.
        """
        base = cls.of_kernel() if module else None
        path = _KERNEL / (module or "vmlinux")
        try:
            return cls(path.read_bytes(), base)
        except OSError as error:
            what = f"BTF of kernel module {module!r} can't be read" if module else "there is no kernel BTF"
            why = error.strerror or str(error)
            raise BpfError(what, f"{path}: {why}", "give it as a file: --btf FILE") from error

    @property
    def count(self) -> int:
        """The number behind the last type's."""
        return self._first + len(self._at)

    @property
    def string_bytes(self) -> int:
        """The offset behind the last string, counted from the base's first."""
        return self._strings_from + len(self._strings)

    @property
    def own_ids(self) -> range:
        """The numbers of its own types, without the base's."""
        return range(self._first, self.count)

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Type]:
        return map(self.__getitem__, self.own_ids)

    def __getitem__(self, type_id: int) -> Type:
        """A type by its number.

        Raises:
            FormatError: there is none, or its bytes are damaged.
        """
        known = self._decoded.get(type_id)
        if known is not None:
            return known
        if type_id == 0:
            return _VOID
        if self.base and 0 < type_id < self._first:
            return self.base[type_id]
        if not self._first <= type_id < self.count:
            raise _damaged(f"there is no type {type_id}")
        found = decode(self, type_id, self._words, self._at[type_id - self._first])
        self._decoded[type_id] = found
        return found

    def kind(self, type_id: int) -> Kind:
        """What a type is, without decoding it."""
        if type_id < self._first:
            return self.base.kind(type_id) if self.base and type_id > 0 else Kind.VOID
        if type_id >= self.count:
            raise _damaged(f"there is no type {type_id}")
        return Kind(self._words[self._at[type_id - self._first] + 1] >> 24 & 31)

    def string(self, offset: int) -> str:
        """The string at an offset of this BTF's strings, which follow those of its base.

        Raises:
            FormatError: there is none.
        """
        if self.base and offset < self._strings_from:
            return self.base.string(offset)
        at = offset - self._strings_from
        end = self._strings.find(b"\0", at)
        if at < 0 or end < 0:
            raise _damaged(f"there is no string at {offset}")
        return self._strings[at:end].decode(errors="replace")

    def find(self, name: str, *kinds: Kind) -> Type | None:
        """The first type of this name, and of one of these kinds if any are given."""
        return next(self.find_all(name, *kinds), None)

    def find_all(self, name: str, *kinds: Kind) -> Iterator[Type]:
        """All types of this name, and of one of these kinds if any are given; the base's first."""
        if self.base:
            yield from self.base.find_all(name, *kinds)
        for type_id in self.names.get(name, ()):
            if not kinds or self.kind(type_id) in kinds:
                yield self[type_id]

    @property
    def names(self) -> dict[str, list[int]]:
        """The numbers of its own types (not the base's) by their names."""
        if self._names is None:
            found: dict[int, list[int]] = {}
            words = self._words
            for type_id, at in enumerate(self._at, self._first):
                if offset := words[at]:
                    found.setdefault(offset, []).append(type_id)
            self._names = {}
            for offset, ids in found.items():
                self._names.setdefault(self.string(offset), []).extend(ids)
        return self._names

    def peel(self, type_id: int) -> Type:
        """A type without the typedefs, const and the like around it.

        Raises:
            FormatError: it is hidden in a circle of typedefs.
        """
        for _ in range(_CHAIN):
            found = self[type_id]
            if found.kind not in TRANSPARENT or not isinstance(found, Referring):
                return found
            type_id = found.type
        raise _damaged(f"type {type_id} is a chain of over {_CHAIN} typedefs")

    def struct_layout(self, name: str) -> list[Field]:
        """The fields of a struct or union, with those of members without a name in their place.

        Raises:
            BpfError: there is no struct or union of this name.
        """
        from wbpf.bpf.btf.layout import struct_layout

        found = self.find(name, Kind.STRUCT, Kind.UNION)
        if found is None:
            raise BpfError(f"struct {name!r} has no layout", "the BTF has no struct or union of this name")
        return struct_layout(self, found.id)

    def bytes_of(self, type_id: int) -> int:
        """How large a value of a type is; FormatError if it has no size."""
        from wbpf.bpf.btf.layout import bytes_of

        return bytes_of(self, type_id)

    def declaration(self, type_id: int, name: str = "") -> str:
        """C's declaration of a name that has a type, on one line if the type has a name."""
        from wbpf.bpf.btf.c import Writer

        return Writer(self).declaration(type_id, name)

    def to_c(self, types: Iterable[int] | None = None, *, guard: str = "", access_index: bool = False) -> str:
        """A header with these types, by number, or with all; see `wbpf.bpf.btf.c.header`."""
        from wbpf.bpf.btf.c import header

        return header(self, types, guard=guard, access_index=access_index)

    def validate(self) -> None:
        """Decode everything, and look whether what types refer to is there.

        Raises:
            FormatError: the bytes are damaged.
        """
        from wbpf.bpf.btf.references import references

        for one in self:
            for other in references(one):
                self.kind(other)

    def _index(self) -> array[int]:
        """Where each type starts, in words."""
        words, at, end = self._words, 0, len(self._words)
        starts = array("I")
        add, extra = starts.append, EXTRA_WORDS
        try:
            while at < end:
                add(at)
                info = words[at + 1]
                fixed, each = extra[info >> 24 & 31]
                at += 3 + fixed + each * (info & 0xFFFF)
        except (IndexError, KeyError):
            kind = words[at + 1] >> 24 & 31 if at + 1 < end else None
            why = "its last type is cut off" if kind is None else f"it has a type of unknown kind {kind}"
            raise _damaged(why) from None
        if at != end:
            raise _damaged("its last type is cut off")
        return starts


def _parts(content: bytes) -> tuple[bytes, bytes]:
    """Types and strings."""
    if len(content) < _HEADER.size:
        raise FormatError("not BTF", f"{len(content)} bytes are too few", "give a file of raw BTF")
    magic, version, _, header, type_at, type_bytes, string_at, string_bytes = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        why = "it is of another byte order" if magic == 0x9FEB else f"it starts with {magic:#06x}, not 0xeb9f"
        raise FormatError("not BTF", why, "give a file of raw BTF")
    if version != 1:
        raise FormatError("BTF can't be read", f"it has version {version}, this is for 1")
    if header < _HEADER.size or header + type_at + type_bytes > len(content) or type_bytes % 4:
        raise _damaged("its types do not lie inside it")
    if header + string_at + string_bytes > len(content):
        raise _damaged("its strings do not lie inside it")
    strings = content[header + string_at : header + string_at + string_bytes]
    if strings and strings[-1]:
        raise _damaged("its last string does not end")
    return content[header + type_at : header + type_at + type_bytes], strings


def _damaged(why: str) -> FormatError:
    return FormatError("the BTF is damaged", why, "make it again, or fetch it again")
