"""One program of an object: choose it, load it, attach it, run it once."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from wbpf import _native
from wbpf.bpf.attaching import ENOTSUPP, Attaching
from wbpf.bpf.links import Link
from wbpf.bpf.target import Kind, kind_of, parse_targets, section_target
from wbpf.errors import BpfError

if TYPE_CHECKING:
    from wbpf.bpf.kernel import Object
    from wbpf.bpf.maps import Map


class HasDescriptor(Protocol):
    """A socket, an open cgroup, network namespace or map."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


@dataclass(frozen=True, slots=True)
class TestRun:
    """What a program did that was run once.

    Args:
        result: that it returned.
        data: its packet afterwards.
        context: its context afterwards; only kinds of programs that can change it have one.
        duration_ns: of one run, on average, as the kernel measured it.
    """

    result: int
    data: bytes
    context: bytes
    duration_ns: int


class Program:
    """One program of an object.

    Args:
        section: of the object file, which says what it attaches to.
        kind: of `enum bpf_prog_type`.
        attach_type: of `enum bpf_attach_type`.
    """

    def __init__(
        self, owner: Object, name: str, section: str, kind: int, attach_type: int, autoload: bool
    ) -> None:
        self._owner = owner
        self.name, self.section, self.kind, self.attach_type = name, section, kind, attach_type
        #: how it is attached, by its section
        self.attach_kind = kind_of(section)
        #: the function that it is loaded for, if it is of a kind that is loaded for one
        self.aimed_at = section_target(section)
        self._autoload = autoload

    @property
    def is_self_attaching(self) -> bool:
        """Whether its section names a place, or it needs none."""
        return bool(section_target(self.section)) or self.attach_kind is Kind.ITER

    @property
    def autoload(self) -> bool:
        """Whether load() loads it; set it before."""
        return self._autoload

    @autoload.setter
    def autoload(self, on: bool) -> None:
        self._owner.demand_unloaded(f"program {self.name!r} can't be chosen")
        self._check("chosen", self._owner.native.autoload(self.name, on))
        self._autoload = on

    def aim(self, function: str, of: Program | None = None) -> None:
        """Load it, a program of kind tp_btf, fentry, fexit, fmod_ret, lsm or freplace, for another function.

        Args:
            function: of the kernel, a raw tracepoint for tp_btf, a hook for lsm.
            of: the loaded program whose function that is; None for the kernel's.

        Raises:
            BpfError: there is no such function, or the object is loaded.
        """
        self._owner.demand_unloaded(f"program {self.name!r} can't be aimed")
        other = 0 if of is None else of.fileno()
        self._check(f"aimed at {function!r}", self._owner.native.aim(self.name, function, other))
        self.aimed_at = function

    def attach(self, target: str | HasDescriptor | None = None, *, cookie: int = 0) -> Link:
        """Attach it.

        Args:
            target: text as docs/bpf.md has it, with commas between several places; a socket, map, cgroup or
                network namespace that is open; None for what its section names.
            cookie: that the program reads by bpf_get_attach_cookie(), where the kernel has them for its kind.

        Raises:
            ConfigError: the text is no target for this kind of program.
            BpfError: there is no such place, or the kernel refuses; nothing is attached then.
            AccessError: a right is missing; the text names it.
        """
        where: Any = target
        if target is None or isinstance(target, str):
            where = parse_targets(self.section, target)
        return self._owner.attach(lambda: Attaching(self, cookie).link(where))

    def test_run(
        self, data: bytes = b"", context: bytes = b"", *, repeat: int = 0, room_bytes: int | None = None
    ) -> TestRun:
        """Run it now, without attaching it.

        Args:
            data: a packet, for network programs.
            context: its context; for raw tracepoints their arguments, 8 bytes each.
            repeat: how often, for the duration.
            room_bytes: for a packet that it makes longer; None for 256 bytes more than `data`.

        Raises:
            BpfError: kinds other than network programs, raw tracepoints and syscall can't be run, or the
                data does not fit the kind.
        """
        data_room = (len(data) + 256 if room_bytes is None else room_bytes) if data else 0
        context_room = len(context) if data else 0
        error, result, duration_ns, out, context_out = _native.bpf_program_run(
            self.fileno(), data, context, repeat, data_room, context_room
        )
        if error in (-errno.EOPNOTSUPP, ENOTSUPP):
            why = "the kernel has no test runs of such programs"
            raise BpfError(f"program {self.name!r} can't be run", why, "run it in user space", error=error)
        self._check("run", error)
        return TestRun(result, out, context_out, duration_ns)

    def fileno(self) -> int:
        """Its descriptor. Raises BpfError: it is not loaded."""
        fd = next(row[4] for row in self._owner.native.programs() if row[0] == self.name)
        if fd < 0:
            autoload = "its autoload was off" if self._owner.loaded else "its object is not loaded"
            raise BpfError(f"program {self.name!r} can't be used", autoload, "call load() before")
        return fd

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep it beyond this process, in a bpffs, until the file is removed."""
        self._check(f"pinned at {os.fspath(path)!r}", _native.bpf_pin(self.fileno(), os.fspath(path)))

    # ---- for attaching ----

    def native_attach(self, place: int, **arguments: Any) -> tuple[_native.BpfLink | None, int]:
        """Attach to one place, as the native core knows them."""
        self.fileno()
        return self._owner.native.attach(self.name, place, **arguments)

    def log(self) -> str:
        """What libbpf said about the last thing that failed."""
        return self._owner.native.log()

    def map(self, name: str) -> Map:
        """A map of its object."""
        return self._owner.maps[name]

    def _check(self, done: str, error: int) -> None:
        if error:
            raise BpfError(f"program {self.name!r} can't be {done}", _native.bpf_strerror(error), error=error)
