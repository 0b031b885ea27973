"""What the host does for a guest that is not done in C: objects, programs, links, and what is emitted."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from wbpf import _native
from wbpf.errors import AccessError, BpfError, ConfigError, FormatError, WbpfError
from wbpf.wasm.grants import Rights, place_of
from wbpf.wasm.settled import Settled

if TYPE_CHECKING:
    from wbpf.bpf.btf import Btf
    from wbpf.bpf.kernel import Object
    from wbpf.bpf.links import Link
    from wbpf.bpf.maps import Map
    from wbpf.bpf.program import Program
    from wbpf.bpf.ringbuf import UserRing
    from wbpf.bpf.user.attach import Traced, UserLink
    from wbpf.bpf.user.objects import UserObject, UserObjectProgram
    from wbpf.bpf.variables import Variable
    from wbpf.wasm.filters import Filter

Answer = int | tuple[int, bytes] | tuple[int, bytes, bytes, bytes]
#: The least number: ends the guest.
END = -(2**63)
_RINGS_FLAGS = 1
_WARNING = 1
#: The kernel's own number, which it lets out at times.
_ENOTSUPP = 524


class Emitter(Protocol):
    """Takes what a guest emits."""

    def find(self, name: str) -> int | None:
        """The number of an event type."""

    def emit(self, kind: int, records: bytes) -> int:
        """Take records; how many passed the filter. Raises LookupError or ValueError."""


@dataclass
class Held:
    """An object of a guest's, and the handles of its programs and maps."""

    object: Object | UserObject
    is_loaded: bool = False
    programs: dict[str, int] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attached:
    """A link of a guest's: the handle of its object, and the program."""

    owner: int
    program: str
    link: Link | UserLink


@dataclass(frozen=True)
class Setting:
    """What the command line says about objects.

    Args:
        objects: the module's eBPF objects, by name.
        settled: the parameters.
        btf: a file with the kernel's BTF.
        backend: `kernel` or `user`.
        traced: in user space, the process that programs are attached to.
        checks: in user space, check what is not proved while it runs.
        ahead: translated programs of the module, whose maker is trusted.
    """

    objects: Mapping[str, bytes]
    settled: Settled = field(default_factory=Settled)
    filter: Filter | None = None
    btf: str | None = None
    backend: str = "kernel"
    traced: Traced | None = None
    checks: bool = False
    ahead: bytes = b""


class Host:
    """Answers the calls of one guest. Each method has the name of its import."""

    def __init__(
        self,
        setting: Setting,
        rights: Rights,
        emitter: Emitter,
        log: Callable[[int, str], None],
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        self.guest: _native.WasmGuest
        self.error: WbpfError | None = None
        self._setting, self._rights, self._emitter, self._log = setting, rights, emitter, log
        self._on_wait = on_wait
        self._objects: dict[int, Held] = {}
        self._programs: dict[int, tuple[Held, Program | UserObjectProgram]] = {}
        self._links: dict[int, Attached] = {}
        self._maps: dict[int, tuple[Held, str]] = {}
        self._unread: dict[int, bytes] = {}  # of iterators' links
        self._user_rings: dict[int, UserRing] = {}

    def answer(self, function: str, arguments: list[Any]) -> Answer:
        """Do what a guest asks for; errors become numbers."""
        try:
            result: Answer = getattr(self, function)(*arguments)
        except WbpfError as error:
            self.error = error
            self.guest.refuse(str(error), False)
            return -number_of(error)
        return result

    def close(self) -> None:
        """Detach and let go of all. When the guest has ended, or never will."""
        for ring in self._user_rings.values():
            ring.close()
        for attached in self._links.values():
            with suppress(BpfError):  # the process that it was in is gone
                self._detach(attached)
        for held in self._objects.values():
            held.object.close()
        self._links.clear()
        self._objects.clear()

    # ---- objects ----

    def object_open(self, name: str) -> int:
        objects = self._setting.objects
        if not name and len(objects) == 1:
            name = next(iter(objects))
        if name not in objects:
            there = ", ".join(objects) or "none"
            raise MissingError(f"the module has no eBPF object {name!r}", f"it has {there}")
        return self._open(objects[name], name)

    def object_open_mem(self, elf: bytes) -> int:
        return self._open(elf, "object")

    def wasm_load_bpf_object(self, elf: bytes) -> int:
        handle = self._open(elf, "object")
        if handle < 0:
            return handle
        try:
            self.object_load(handle)
        except WbpfError:
            self.object_close(handle)
            raise
        return handle

    def _open(self, elf: bytes, name: str) -> int:
        held = Held(self._object(elf, name))
        try:
            self._prepare(held.object)
        except WbpfError:
            held.object.close()
            raise
        handle = self.guest.add("o", 0)
        if handle < 0:
            held.object.close()
            return END
        self._objects[handle] = held
        return handle

    def _object(self, elf: bytes, name: str) -> Object | UserObject:
        btf = self._setting.btf
        if self._setting.backend == "user":
            from wbpf.bpf.user.objects import UserObject

            setting = self._setting
            return UserObject(
                elf, name, _types(btf), checks=setting.checks, traced=setting.traced, cached=True,
                ahead=setting.ahead,
            )  # fmt: skip
        from wbpf.bpf.kernel import Object

        return Object(elf, name, btf)

    def _prepare(self, target: Object | UserObject) -> None:
        self._setting.settled.apply(target)
        if self._setting.filter is not None:
            self._setting.filter.apply(target)

    def object_close(self, handle: int) -> int:
        for number, attached in list(self._links.items()):
            if attached.owner == handle:
                del self._links[number]
                self._detach(attached)
        held = self._objects.pop(handle)
        for number in held.programs.values():
            del self._programs[number]
        for number in held.maps.values():
            del self._maps[number]
            if number in self._user_rings:
                self._user_rings.pop(number).close()
        self.guest.release(handle)
        held.object.close()
        return 0

    def object_set(self, handle: int, variable: str, value: bytes) -> int:
        held = self._objects[handle]
        known = self._variable(held, variable)
        if held.is_loaded and known.section.startswith(".rodata"):
            return -errno.EBUSY
        held.object.variables[variable] = value
        return 0

    def object_get(self, handle: int, variable: str, room: int) -> Answer:
        held = self._objects[handle]
        size = self._variable(held, variable).size_bytes
        value = held.object.variables.content(variable)
        if isinstance(value, int):
            return value
        return (size, value) if size <= room else -errno.ENOSPC

    def _variable(self, held: Held, name: str) -> Variable:
        if name not in held.object.variables:
            what = f"object {held.object.name!r} has no variable {name!r}"
            raise MissingError(what, nearest(name, list(held.object.variables)))
        return held.object.variables.describe(name)

    def object_load(self, handle: int) -> int:
        held = self._objects[handle]
        for program in held.object.programs.values():
            if program.autoload and program.kind:  # else loading says that there is no such kind
                self._rights.validate_program(program.name, program.kind)
        held.object.load()
        held.is_loaded = True
        for name, number in held.maps.items():
            self._set_map(number, held.object.maps[name])
        return 0

    def _set_map(self, number: int, made: Map) -> None:
        why = ""
        if self._setting.backend == "user":
            error = self.guest.set_user_map(number, made.native.place()[0])  # type: ignore[attr-defined]
        else:
            error, why = self.guest.set_map(number, made.fd)
        if error:
            raise BpfError(f"map {made.name!r} can't be used", why)

    # ---- programs ----

    def program_find(self, handle: int, name: str) -> int:
        held = self._objects[handle]
        program = self._program(held, name)
        if program.name not in held.programs:
            number = self.guest.add("p", handle)
            if number < 0:
                return END
            held.programs[program.name] = number
            self._programs[number] = held, program
        return held.programs[program.name]

    def _program(self, held: Held, name: str) -> Program | UserObjectProgram:
        programs: Mapping[str, Program | UserObjectProgram] = held.object.programs
        if not name and programs:
            return next(iter(programs.values()))
        if name not in programs:
            raise MissingError(
                f"object {held.object.name!r} has no program {name!r}", nearest(name, list(programs))
            )
        return programs[name]

    def program_autoload(self, handle: int, on: int) -> int:
        held, program = self._programs[handle]
        if held.is_loaded:
            return -errno.EBUSY
        program.autoload = bool(on)
        return 0

    def program_attach(self, handle: int, target: str, cookie: int) -> int:
        held, program = self._programs[handle]
        if not program.autoload:
            return -errno.EOPNOTSUPP
        owner = next(number for number, one in self._objects.items() if one is held)
        return self._attach(owner, program, target, cookie)

    def wasm_attach_bpf_program(self, handle: int, name: str, target: str) -> int:
        program = self._program(self._objects[handle], name)
        takes_target = program.section in ("sockops", "xdp")
        return self._attach(handle, program, target if takes_target else "", 0)

    def _attach(self, owner: int, program: Program | UserObjectProgram, target: str, cookie: int) -> int:
        self._rights.validate_attach(program.name, place_of(program.section, target))
        link = program.attach(target or None, cookie=cookie)
        number = self.guest.add("l", owner)
        if number < 0:
            link.detach()
            return END
        self._links[number] = Attached(owner, program.name, link)
        return number

    def program_run(self, handle: int, context: bytes, data: bytes, room: int, _: int) -> Answer:
        _held, program = self._programs[handle]
        done = program.test_run(data, context, room_bytes=room)
        run = b"".join(n.to_bytes(4, "little") for n in (done.result, done.duration_ns, len(done.data), 0))
        return 0, done.context, done.data, run

    def link_detach(self, handle: int) -> int:
        attached = self._links.pop(handle)
        self.guest.release(handle)
        self._detach(attached)
        return 0

    def _detach(self, attached: Attached) -> None:
        detached = attached.link.detach()
        if detached is not None and detached.stopped:
            runs = f"{detached.stopped:,} of its runs were ended by a check"
            self._log(_WARNING, f"program {attached.program!r}: {runs}")

    def link_read(self, handle: int, room: int) -> Answer:
        if not self._unread.get(handle):
            if handle in self._unread:  # its end was read
                del self._unread[handle]
                return 0, b""
            link = self._links[handle].link
            if not hasattr(link, "read"):
                raise BpfError("the link can't be read", "only iterators can, and user space has none")
            self._unread[handle] = link.read()
        text, self._unread[handle] = self._unread[handle][:room], self._unread[handle][room:]
        return len(text), text

    # ---- maps and rings ----

    def map_find(self, handle: int, name: str) -> int:
        held = self._objects[handle]
        maps: Mapping[str, Map] = held.object.maps
        if name not in maps:
            raise MissingError(f"object {held.object.name!r} has no map {name!r}", nearest(name, list(maps)))
        if name not in held.maps:
            number, why = self.guest.add_map(handle, -1)
            if number == -(2**31):
                return END
            if number < 0:
                raise BpfError(f"map {name!r} can't be used", why)
            if held.is_loaded:
                self._set_map(number, maps[name])
            held.maps[name] = number
            self._maps[number] = held, name
        return held.maps[name]

    def _map(self, handle: int) -> Map:
        held, name = self._maps[handle]
        return held.object.maps[name]

    def map_window(self, handle: int, flags: int) -> int:
        return self.guest.map_window(handle, bool(flags & 1))

    def map_set_program(self, handle: int, key: bytes, program: int) -> int:
        self._map(handle).set_fd(key, self._programs[program][1])  # type: ignore[arg-type]
        return 0

    def map_set_map(self, handle: int, key: bytes, inner: int) -> int:
        self._map(handle).set_fd(key, self._map(inner))
        return 0

    def map_pin(self, handle: int, path: str) -> int:
        self._rights.validate_file(path, write=True)
        self._map(handle).pin(path)
        return 0

    def map_reuse(self, handle: int, path: str) -> int:
        self._rights.validate_file(path, write=True)
        self._map(handle).reuse(path)
        return 0

    def map_resize(self, handle: int, entries: int, value_bytes: int) -> int:
        held, name = self._maps[handle]
        if held.is_loaded:
            return -errno.EBUSY
        held.object.maps[name].resize(value_bytes=value_bytes, entries=entries)
        return 0

    def ring_open(self, handle: int, flags: int) -> int:
        number = self.guest.open_ring(handle, bool(flags & _RINGS_FLAGS))
        return END if number == -(2**31) else number

    def user_ring_submit(self, handle: int, record: bytes) -> int:
        if handle not in self._user_rings:
            self._user_rings[handle] = self._map(handle).user_ring()
        return 0 if self._user_rings[handle].submit(record) else -errno.ENOSPC

    def waits(self) -> int:
        """The guest waits for the first time."""
        if self._on_wait is not None:
            self._on_wait()
        return 0

    # ---- what the guest knows and says ----

    def param_get(self, name: str, room: int) -> Answer:
        text = self._setting.settled.texts.get(name)
        if text is None:
            raise MissingError(
                f"the module has no parameter {name!r}", nearest(name, list(self._setting.settled.texts))
            )
        encoded = text.encode()
        return len(encoded), encoded[:room]

    def event_find(self, name: str) -> int:
        number = self._emitter.find(name)
        return -errno.ENOENT if number is None else number

    def emit(self, kind: int, records: bytes) -> int:
        try:
            return self._emitter.emit(kind, records)
        except LookupError:
            self.guest.refuse(f"the manifest has no event type {kind}", False)
            return -errno.ENOENT
        except ValueError as error:
            self.guest.refuse(str(error), False)
            return -errno.EINVAL

    def log(self, level: int, text: str) -> int:
        self._log(level, text)
        return 0

    def symbolise(self, addresses: bytes, pid: int, room: int) -> Answer:
        from wbpf.bpf.symbols import symbolise

        numbers = [int.from_bytes(addresses[at : at + 8], "little") for at in range(0, len(addresses) - 7, 8)]
        text = "".join(f"{name}\n" for name in symbolise(numbers, None if pid < 0 else pid)).encode()
        return len(text), text[:room]


def _types(path: str | None) -> Btf | None:
    """What CO-RE is resolved against; None: the kernel's own."""
    if path is None:
        return None
    from wbpf.bpf.btf import Btf

    with open(path, "rb") as file:  # noqa: PTH123
        return Btf.parse(file.read())


class MissingError(BpfError):
    """There is nothing of a name."""


def nearest(name: str, names: list[str]) -> str:
    """What was meant, and what there is."""
    from difflib import get_close_matches

    near = get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names) or 'none'}"


def number_of(error: WbpfError) -> int:
    """The errno that a guest gets for an error."""
    if isinstance(error, MissingError):
        return errno.ENOENT
    if isinstance(error, AccessError):
        return errno.EPERM
    if isinstance(error, (FormatError, ConfigError)):
        return errno.EINVAL
    number = error.errno if isinstance(error, BpfError) else 0
    return errno.EOPNOTSUPP if number == _ENOTSUPP else number or errno.EINVAL
