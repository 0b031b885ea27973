"""eBPF objects in the kernel, through libbpf: open, load, attach."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from wbpf import _native
from wbpf.bpf.diagnosis import demand, explain
from wbpf.bpf.elf import sections, strings, with_name
from wbpf.bpf.features import have_libbpf
from wbpf.bpf.kinds import MapType, capabilities_for
from wbpf.bpf.links import Link
from wbpf.bpf.maps import Map
from wbpf.bpf.nearest import hint
from wbpf.bpf.probes import have_attach_type
from wbpf.bpf.program import Program
from wbpf.bpf.variables import Variables
from wbpf.errors import BpfError, FormatError, WbpfError

if TYPE_CHECKING:
    from wbpf.bpf.btf.btf import Btf
    from wbpf.bpf.typed import Typed

_SCHEMAS = ".wbpf.schemas"
_LINKED_OPERATIONS = 1 << 13  # BPF_F_LINK, kernel 6.4
_T = TypeVar("_T")


class Named(dict[str, _T], Generic[_T]):
    """Parts of an object, by name; one that is not there is an error that names the nearest."""

    def __init__(self, what: str, owner: str, parts: dict[str, _T]) -> None:
        super().__init__(parts)
        self._what, self._owner = what, owner

    def __missing__(self, name: str) -> _T:
        there = ", ".join(sorted(self)[:20]) or "none"
        near = hint(name, self)
        raise BpfError(f"object {self._owner!r} has no {self._what} {name!r}", f"it has {there}", near)


class Object:
    """An eBPF object file. Closing it detaches its programs and frees its maps. One thread at a time uses it.

    Args:
        elf: the file's content.
        name: for messages.
        btf: a file with the kernel's BTF; None for the kernel's own.
        pin_root: a folder in a bpffs, for maps that are declared to be pinned by name; None for /sys/fs/bpf.

    Raises:
        BpfError: libbpf is missing or does not take the file.
        FormatError: it is no eBPF object, or is cut short.
    """

    def __init__(
        self,
        elf: bytes,
        name: str,
        btf: str | os.PathLike[str] | None = None,
        *,
        pin_root: str | os.PathLike[str] | None = None,
    ) -> None:
        self.name = name
        self.loaded = False
        self._links = ExitStack()
        self._lock = RLock()
        self._btf = None if btf is None else os.fspath(btf)
        what = f"eBPF object {name!r} can't be opened"
        #: descriptors of the schemas that its programs record by
        try:
            contents = sections(elf)
        except FormatError as damage:
            raise with_name(damage, name) from damage
        self.schemas = strings(contents.get(_SCHEMAS, b""))
        self._types = contents.get(".BTF", b"")
        demand(have_libbpf(), what)
        root = None if pin_root is None else os.fspath(pin_root)
        native, error, log = _native.BpfObject.open(elf, re.sub(r"\W", "_", name)[:15], self._btf, root)
        if native is None:
            raise explain(what, error, log)
        self.native = native
        programs = {row[0]: Program(self, *row[:4], row[5]) for row in native.programs()}
        self.programs = Named("program", name, programs)
        self.maps = Named("map", name, {row[0]: Map(*row, owner=native) for row in native.maps()})
        self.variables = Variables(native, name)
        for one in self.maps.values():
            if one.kind == MapType.STRUCT_OPS and _have_linked_operations():
                native.flag_map(one.name, one.flags | _LINKED_OPERATIONS)

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str] | bytes,
        btf: str | os.PathLike[str] | None = None,
        *,
        pin_root: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Open an object file, or its content."""
        if isinstance(source, bytes):
            return cls(source, "object", btf, pin_root=pin_root)
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            what = f"eBPF object {os.fspath(source)!r} can't be opened"
            raise BpfError(what, str(error), "check the path") from error
        name = Path(source).name.removesuffix(".o").removesuffix(".bpf")
        return cls(content, name, btf, pin_root=pin_root)

    def set(self, variable: str, value: bytes) -> None:
        """Give a global variable a value; see `variables`, which knows types."""
        self.variables[variable] = value

    @cached_property
    def btf(self) -> Btf:
        """The types of its source. Raises FormatError: it has none."""
        from wbpf.bpf.btf.btf import Btf

        return Btf.parse(self._types)

    def typed(self, name: str) -> Typed:
        """A map with Python values in place of bytes, by the types of its definition."""
        from wbpf.bpf.typed import Typed

        return Typed(self.maps[name], self.btf)

    def decode(self, struct: str, record: bytes) -> dict[str, Any]:
        """The fields of a record, by the object's struct of that name.

        Raises:
            BpfError: there is no such struct, or the record is shorter.
        """
        from wbpf.bpf.btf.types import Kind
        from wbpf.bpf.typed import decode

        found = self.btf.find(struct, Kind.STRUCT)
        if found is None:
            raise BpfError(f"a record can't be read as struct {struct}", "the object's BTF has none such")
        if self.btf.bytes_of(found.id) > len(record):
            raise BpfError(f"a record can't be read as struct {struct}", f"it has {len(record)} bytes")
        fields: dict[str, Any] = decode(self.btf, found.id, record)
        return fields

    def resize_map(self, name: str, *, value_bytes: int = 0, entries: int = 0) -> None:
        """Change the size of a map, before loading; 0 leaves it as it is."""
        self.maps[name].resize(value_bytes=value_bytes, entries=entries)

    def drop_map(self, name: str) -> None:
        """Do without a map that no program of this kernel uses, before loading."""
        if error := self.native.drop_map(name):
            raise BpfError(f"map {name!r} of {self.name!r} can't be dropped", _native.bpf_strerror(error))

    def load(self) -> None:
        """Give programs and maps to the kernel.

        Raises:
            AccessError: a right is missing; the text names it.
            BpfError: the verifier refuses a program, or the kernel lacks what it needs.
        """
        self.demand_unloaded(f"eBPF object {self.name!r} can't be loaded")
        with self._lock:
            error = self.native.load()
            if error:
                wanted = [(one.name, one.kind) for one in self.programs.values() if one.autoload]
                raise refused_load(self.name, wanted, error, self.native.log(), self._btf)
            self.loaded = True
            for row in self.native.maps():
                self.maps[row[0]].made(*row)

    def attach(self, make: Callable[[], Link]) -> Link:
        """Make a link that is detached at the latest when the object is closed."""
        with self._lock:
            return self._links.enter_context(make())

    def attach_all(self) -> list[Link]:
        """Attach every loaded program to what its section names, and every struct_ops map."""
        links = [one.attach() for one in self.programs.values() if one.autoload and one.is_self_attaching]
        links += [
            self.attach_operations(one.name) for one in self.maps.values() if one.kind == MapType.STRUCT_OPS
        ]
        return links

    def attach_operations(self, name: str) -> Link:
        """Make the operations of a struct_ops map known to the kernel, until the link is detached.

        Raises:
            BpfError: the kernel refuses them, or has no links for them (before 6.4).
        """
        what = f"operations {self.maps[name].name!r}"
        link, error = self.native.attach_struct_ops(name)
        if link is None:
            if not self.maps[name].flags & _LINKED_OPERATIONS and not _have_linked_operations():
                why = "needs links of struct_ops (kernel 6.4): without, they would outlive this process"
                raise BpfError(f"{what} can't be attached", why, "use a newer kernel")
            raise explain(f"{what} can't be attached", error, self.native.log())
        parts = [link]
        return self.attach(lambda: Link(parts, what))

    def demand_unloaded(self, what: str) -> None:
        """Raise what can't be done once the object is loaded, if it is."""
        if self.loaded:
            raise BpfError(what, f"object {self.name!r} is loaded", "do it before load()")

    def close(self) -> None:
        """Detach its programs and let go of it."""
        with self._lock:
            self._links.close()
            self.native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def refused_load(
    name: str, programs: Iterable[tuple[str, int]], error: int, log: str, btf: str | None = None
) -> WbpfError:
    """The exception for an object that the kernel or libbpf refused.

    Args:
        name: of the object.
        programs: names and kinds of those that were to be loaded.
        error: a negative errno.
        log: what libbpf said.
        btf: the file of the kernel's BTF that was asked for.
    """
    failed = re.search(r"prog '(\w+)': ", log)
    part = f"program {failed[1]!r} of {name!r}" if failed else f"eBPF object {name!r}"
    kinds = dict(programs)
    if failed and failed[1] in kinds:
        kinds = {failed[1]: kinds[failed[1]]}
    needs = {name: None for kind in kinds.values() for name in capabilities_for(kind)}
    kind = next(iter(kinds.values())) if len(kinds) == 1 else 0
    return explain(f"{part} can't be loaded", error, log, needs=needs, btf=btf, kind=kind)


def _have_linked_operations() -> bool:
    return bool(have_attach_type("BPF_STRUCT_OPS"))
