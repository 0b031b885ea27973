"""eBPF objects in user space, with the face of the kernel's: open, load, run, and use their maps."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wbpf.bpf.btf import Btf, Kind
from wbpf.bpf.btf.types import Array, Composite, Float, Int, Pointer, Section, Variable
from wbpf.bpf.elf import with_name
from wbpf.bpf.kernel import Named
from wbpf.bpf.kinds import MapType, ProgramType, name_of
from wbpf.bpf.object_file import MapDefinition, ObjectFile, ProgramDefinition
from wbpf.bpf.program import TestRun
from wbpf.bpf.target import kind_of
from wbpf.bpf.user.blobs import key_of, pack
from wbpf.bpf.user.contexts import context_of, prepare, program_type
from wbpf.bpf.user.kconfig import kconfig_bytes
from wbpf.bpf.user.linking import Linker
from wbpf.bpf.user.maps import CONSTANTS, NO_LOCK, READ_ONLY, UserMap
from wbpf.bpf.user.program import (
    LoadedMap,
    ProgramSpec,
    UserProgram,
    load_programs,
    translate_programs,
    verify_program,
)
from wbpf.bpf.user.types import Sources
from wbpf.bpf.user.verifier import MapModel
from wbpf.bpf.variables import Variables
from wbpf.errors import BpfError, FormatError, WbpfError

if TYPE_CHECKING:
    from wbpf.bpf.user.attach import Traced, UserLink

_KCONFIG = ".kconfig"
_OF_MAPS = {MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS}


class UserObjectProgram:
    """One program of an object.

    Args:
        section: of the object file, which says what it attaches to.
        kind: of `enum bpf_prog_type`.
    """

    def __init__(self, owner: UserObject, definition: ProgramDefinition) -> None:
        self._owner, self.definition = owner, definition
        self.name, self.section = definition.name, definition.section
        self.kind = program_type(definition.section)
        self.attach_kind = kind_of(definition.section)
        self._autoload = not definition.section.startswith("?")
        self.loaded: UserProgram | None = None

    @property
    def autoload(self) -> bool:
        """Whether load() loads it; set it before."""
        return self._autoload

    @autoload.setter
    def autoload(self, on: bool) -> None:
        self._owner.demand_unloaded(f"program {self.name!r} can't be chosen")
        self._autoload = on

    @property
    def program(self) -> UserProgram:
        """The translated program. Raises BpfError: it is not loaded."""
        if self.loaded is None:
            raise BpfError(f"program {self.name!r} can't be used", "it is not loaded", "call load() before")
        return self.loaded

    @property
    def maps(self) -> tuple[UserMap, ...]:
        """All of its object, by their slots."""
        return tuple(self._owner.maps.values())

    @property
    def user_id(self) -> int:
        """What program arrays know it by."""
        return self.program.native.id()

    def attach(self, target: str | None = None, *, cookie: int = 0) -> UserLink:
        """Attach it, until the link is detached or the object is closed.

        Args:
            target: as docs/user-backend.md has it; None for what its section names.
            cookie: that the program reads by bpf_get_attach_cookie(), where its kind has them.

        Raises:
            ConfigError: the text is no target for this kind of program.
            BpfError: there is no such place; nothing is attached then.
            AccessError: a process is another user's.
        """
        from wbpf.bpf.user.attach import attach

        return self._owner.hold(attach(self, target, cookie, self._owner.traced))

    def test_run(
        self, data: bytes = b"", context: bytes = b"", *, repeat: int = 0, room_bytes: int | None = None
    ) -> TestRun:
        """Run it now, without attaching it.

        Args:
            data: a packet, for network programs.
            context: its context, for others.
            repeat: how often, for the duration.
            room_bytes: for a packet that it makes longer; None or 0 for any.

        Raises:
            BpfError: it was stopped, or the packet does not fit the room.
        """
        run = prepare(self.kind, data, context)
        duration_ns = 0
        if repeat > 1:
            _, _, total_ns = self.program.native.repeat(run.memory, 1 << 32, repeat - 1)
            duration_ns = total_ns // (repeat - 1)
        result = self.program.run(run.memory).value & 0xFFFFFFFF
        if room_bytes and len(run.data) > room_bytes:
            what, why = f"program {self.name!r} can't be run", f"its packet has {len(run.data)} bytes"
            raise BpfError(what, why) from OSError(errno.ENOSPC, why)
        writes = self.kind in (ProgramType.SYSCALL, ProgramType.SOCKET_FILTER, ProgramType.SCHED_CLS)
        context_after = run.context[: len(context)] if writes else b""
        return TestRun(result, run.data, context_after, duration_ns)


class UserObject:
    """An eBPF object file, loaded into this process. Closing it frees its maps.

    Args:
        elf: the file's content.
        name: for messages.
        types: what CO-RE relocations are resolved against; None for those of `traced`, then the kernel's.
        checks: check what can't be proved to be safe while programs run; else they are refused.
        traced: the process whose sites, functions and system calls programs are attached to.
        cached: take the programs from the user's cache, or put them there once they are translated.
        ahead: translated programs that somebody who is trusted made before, for where there is no LLVM.
        files_of: lists the files whose types are tried before the kernel's; None: those of `traced`.

    Raises:
        FormatError: it is no eBPF object, or is cut short.
    """

    def __init__(
        self,
        elf: bytes,
        name: str,
        types: Btf | None = None,
        *,
        checks: bool = False,
        traced: Traced | None = None,
        cached: bool = False,
        ahead: bytes = b"",
        files_of: Callable[[], Sequence[Path]] | None = None,
    ) -> None:
        self.name, self.loaded, self._types, self._checks = name, False, types, checks
        self.traced, self._cached, self._ahead = traced, cached, ahead
        self._files_of = files_of or (None if traced is None else traced.files)
        self._links = ExitStack()
        try:
            self.file = ObjectFile.parse(elf)
        except FormatError as damage:
            raise with_name(damage, name) from damage
        programs = {one.name: UserObjectProgram(self, one) for one in self.file.programs}
        self.programs = Named("program", name, programs)
        self.maps = Named("map", name, {one.name: _map(one, self.file.btf) for one in self.file.maps})
        self._sections = Sections(self.file, self.maps)
        if externs := self.file.kconfig:
            size = externs[-1].offset + externs[-1].bytes
            self.maps[_KCONFIG] = UserMap(_KCONFIG, MapType.ARRAY, 4, size, 1)
        self.variables = Variables(self._sections, name)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        types: Btf | None = None,
        *,
        checks: bool = False,
        traced: Traced | None = None,
    ) -> Self:
        """Read an object file. Raises: as the class; BpfError: it can't be read."""
        try:
            return cls(Path(path).read_bytes(), Path(path).stem, types, checks=checks, traced=traced)
        except OSError as error:
            what = f"eBPF object {os.fspath(path)!r} can't be opened"
            raise BpfError(what, error.strerror or str(error)) from error

    def load(self) -> None:
        """Make its maps, and verify and translate its programs.

        Raises:
            BpfError: a program is not safe, or needs what user space does not have.
        """
        specs = self._specs()
        for name, loaded in load_programs(specs, cached=self._cached, ahead=self._ahead).items():
            self.programs[name].loaded = loaded
        for outer, number, name in self.file.initial:
            it = self.maps[name] if name in self.maps else self.programs[name]
            if isinstance(it, UserMap) or it.loaded is not None:
                self.maps[outer].set_fd(number.to_bytes(4, "little"), it)
        self.loaded = True

    def translate(self, architectures: Iterable[str]) -> dict[str, bytes]:
        """Translate its programs in place of loading them: for each architecture what `ahead` takes.

        Raises:
            BpfError: as load(), or an architecture is not known.
        """
        specs = self._specs()
        return {arch: pack({key_of(specs, arch): translate_programs(specs, arch)}) for arch in architectures}

    def check(self) -> dict[str, WbpfError | None]:
        """Verify its programs in place of loading them: why each would be refused; None: it would not.

        Raises:
            BpfError: its maps can't be made, so that none would be loaded.
        """
        make = self._prepare()
        found: dict[str, WbpfError | None] = {}
        for program in self.programs.values():
            found[program.name] = None
            try:
                verify_program(program.name, make(program))
            except WbpfError as error:
                found[program.name] = error
        return found

    def _specs(self) -> dict[str, ProgramSpec]:
        make = self._prepare()
        return {one.name: make(one) for one in self.programs.values() if one.autoload}

    def _prepare(self) -> Callable[[UserObjectProgram], ProgramSpec]:
        """Make its maps, and a linker of its programs."""
        self.demand_unloaded(f"eBPF object {self.name!r} can't be loaded")
        for one in self.maps.values():
            if one.fd < 0:
                one.make()
        self._sections.fill()
        if self.file.kconfig and self.file.btf is not None:
            self.maps[_KCONFIG].native.set_row(0, kconfig_bytes(self.file.kconfig, self.file.btf))
        types = Sources(self._types, self._files_of)
        linker = Linker(self.file, self.name, {name: n for n, name in enumerate(self.maps)}, types)
        return partial(self._spec, linker, self._loaded_maps())

    def _spec(self, linker: Linker, maps: tuple[LoadedMap, ...], program: UserObjectProgram) -> ProgramSpec:
        context = context_of(program.kind)
        if context is None:
            kind = name_of(program.kind, ProgramType) if program.kind else f"{program.section!r}"
            why = f"programs of kind {kind} have no context in user space"
            raise BpfError(f"program {program.name!r} can't be loaded", why, "run it in the kernel")
        code = linker.link(program.definition)
        return ProgramSpec(code, context, self._checks, maps, partial(linker.line, program.definition))

    def _loaded_maps(self) -> tuple[LoadedMap, ...]:
        """The maps in the order of their slots; behind them what those in maps of maps are like."""
        found: list[LoadedMap] = []
        inner: list[LoadedMap] = []
        for name, one in self.maps.items():
            constant = None
            if name.startswith(CONSTANTS):
                one.native.freeze()
                constant = one[bytes(4)]
            like = -1
            if one.kind in _OF_MAPS and self.file.btf is not None:
                like = len(self.maps) + len(inner)
                # Where its values are differs from map to map: no lookup in it is inlined.
                inner.append(LoadedMap(MapModel(f"in {name}", *_inner(self.file.btf, name)), 0, 0))
            address, values, _ = one.native.place()
            found.append(
                LoadedMap(one.model(constant, like), address, values, one.native, one.native.entries())
            )
        return (*found, *inner)

    def demand_unloaded(self, what: str) -> None:
        """Raise what can't be done once the object is loaded, if it is."""
        if self.loaded:
            raise BpfError(what, f"object {self.name!r} is loaded", "do it before load()")

    def hold(self, link: UserLink) -> UserLink:
        """Detach a link with this object at the latest."""
        return self._links.enter_context(link)

    def close(self) -> None:
        """Detach its programs and let go of it."""
        self._links.close()
        for program in self.programs.values():
            program.loaded = None
        for one in self.maps.values():
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sections:
    """The sections of variables of an object: what programs start with, then maps that they share."""

    def __init__(self, file: ObjectFile, maps: dict[str, UserMap]) -> None:
        self._maps = maps
        self._before = {
            one.name: bytearray(file.data.get(one.name, b"").ljust(one.value_bytes, b"\0"))
            for one in file.maps
            if one.name.startswith(".")
        }
        self._places: dict[str, tuple[str, int]] = {}
        self._rows: list[tuple[str, str, int, str]] = []
        if file.btf is not None:
            self._read(file.btf, file.places)

    def _read(self, btf: Btf, places: dict[str, int]) -> None:
        for name in self._before:
            section = btf.find(name, Kind.DATASEC)
            for number, at, size in section.variables if isinstance(section, Section) else ():
                variable = btf[number]
                if isinstance(variable, Variable):
                    self._places[variable.name] = name, places.get(variable.name, at)
                    self._rows.append((variable.name, name, size, _kind(btf, variable.type)))

    def variables(self) -> list[tuple[str, str, int, str]]:
        """Name, section, size and kind of each."""
        return self._rows

    def get(self, variable: str, size: int, /) -> bytes | int:
        """Its bytes."""
        section, at = self._places[variable]
        one = self._maps[section]
        return bytes(self._before[section][at : at + size]) if one.fd < 0 else one.native.row(at, size)

    def set(self, variable: str, value: bytes, /) -> int:
        """0, or -EROFS: it is constant, and the object is loaded."""
        section, at = self._places[variable]
        one = self._maps[section]
        if one.fd < 0:
            self._before[section][at : at + len(value)] = value
        elif section.startswith(".rodata"):
            return -errno.EROFS
        else:
            one.native.set_row(at, value)
        return 0

    def fill(self) -> None:
        """Give the maps what programs start with."""
        for name, content in self._before.items():
            self._maps[name].native.set_row(0, bytes(content))


def _kind(btf: Btf, type_id: int) -> str:
    one = btf.peel(type_id)
    if isinstance(one, Array):
        element = btf.peel(one.type)
        return "c" if isinstance(element, Int) and element.bytes == 1 and element.name == "char" else "o"
    if isinstance(one, Float):
        return "f"
    if isinstance(one, Int):
        return "b" if one.is_bool else "i" if one.signed else "u"
    return "u" if one.kind in (Kind.ENUM, Kind.ENUM64) else "o"


def _members(btf: Btf, name: str) -> dict[str, int]:
    variable = btf.find(name, Kind.VAR)
    shape = btf.peel(variable.type) if isinstance(variable, Variable) else None
    return {one.name: one.type for one in shape.members} if isinstance(shape, Composite) else {}


def _pointed(btf: Btf, type_id: int | None) -> int:
    pointer = btf.peel(type_id) if type_id is not None else None
    return pointer.type if isinstance(pointer, Pointer) else 0


def _map(definition: MapDefinition, btf: Btf | None) -> UserMap:
    members = {} if btf is None else _members(btf, definition.name)
    lock = NO_LOCK
    key_type = value_type = 0
    if btf is not None:
        key_type, value_type = (_pointed(btf, members.get(part)) for part in ("key", "value"))
        shape = btf.peel(value_type) if value_type else None
        for member in shape.members if isinstance(shape, Composite) else ():
            if btf.peel(member.type).name == "bpf_spin_lock":
                lock = member.bit_offset // 8
    value, inner = definition.value_bytes, (0, 0, 0)
    if definition.type in _OF_MAPS or (definition.type == MapType.PROG_ARRAY and not value):
        value = 4
        inner = _inner(btf, definition.name)[:3] if btf is not None else inner
    return UserMap(
        definition.name,
        definition.type,
        definition.key_bytes,
        value,
        definition.entries,
        definition.flags | (READ_ONLY if definition.name.startswith(CONSTANTS) else 0),
        lock_offset=lock,
        inner=inner,
        key_type=key_type,
        value_type=value_type,
    )


def _inner(btf: Btf, name: str) -> tuple[int, int, int, int]:
    """Kind, sizes and entries of the maps in a map of maps."""
    values = btf.peel(_members(btf, name).get("values", 0))
    pointed = btf.peel(_pointed(btf, values.type)) if isinstance(values, Array) else None
    members = {one.name: one.type for one in pointed.members} if isinstance(pointed, Composite) else {}

    def number(part: str) -> int:
        array = btf.peel(_pointed(btf, members[part])) if part in members else None
        return array.count if isinstance(array, Array) else 0

    sizes = []
    for part in ("key", "value"):
        pointed_id = _pointed(btf, members.get(part))
        sizes.append(number(f"{part}_size") or (btf.bytes_of(pointed_id) if pointed_id else 0))
    return number("type"), sizes[0], sizes[1], number("max_entries")
