"""How processes are asked to attach programs: native/user/attach.h says the same in C."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

from wbpf.bpf.user.attach.link import Detached
from wbpf.errors import AccessError, BpfError

if TYPE_CHECKING:
    from wbpf.bpf.user.objects import UserObjectProgram

MAGIC = 0x3248434154544157
REQUEST = Struct("<QIIQQQ256s")
CODE = Struct("<BBB5x32s64s16s")
PROGRAM = Struct("<QQQIIII")
REPLY = Struct("<iIQQ16sII104s")
ANNOUNCEMENT = Struct("<QiI")
HOLD, GO = b"h", b"g"
HELD, INSIDE = 1, 2
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TIMEOUT_S = 10.0


class AttachKind(IntEnum):
    """`enum wbpf_attach_kind`."""

    SITE = 1
    FUNCTION_ENTRY = 2
    FUNCTION_RETURN = 3
    SYSCALL_ENTRY = 4
    SYSCALL_EXIT = 5
    LIST = 6


@dataclass(frozen=True, slots=True)
class Code:
    """What a jump takes the place of, and how it is to stand elsewhere: `struct wbpf_attach_code`.

    Args:
        original: the instructions that are replaced.
        moved: the same for elsewhere.
        fixes: where in `moved` are 32 bits relative to the place, as if it had stayed there.
    """

    original: bytes
    moved: bytes
    fixes: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """As it is sent."""
        return CODE.pack(
            len(self.original),
            len(self.moved),
            len(self.fixes),
            self.original,
            self.moved,
            bytes(self.fixes),
        )


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in a process a program is to be attached.

    Args:
        kind: of the place.
        where: an address, or the number of a system call; 2**64 - 1 for all.
        cookie: that the program reads by bpf_get_attach_cookie().
        site: `PROVIDER:NAME`.
        code: of functions.
        inside: the address is not where a function begins.
        semaphore: the address of what is counted up while a program is attached; 0: there is none.
    """

    kind: AttachKind
    where: int = 0
    cookie: int = 0
    site: str = ""
    code: Code | None = None
    inside: bool = False
    semaphore: int = 0


class Connection:
    """A program attached in one process, as long as it lasts.

    Args:
        sites: how many places there are.
        patch: what is to be written at the place while all threads are stopped.
    """

    def __init__(self, peer: socket.socket, sites: int, patch: bytes) -> None:
        self._peer, self.sites, self.patch = peer, sites, patch

    @classmethod
    def open(
        cls, pid: int, folder: Path, program: UserObjectProgram, spot: Spot, what: str, *, held: bool = False
    ) -> Connection:
        """Have a program attached.

        Args:
            pid: of the process.
            folder: where it has its socket.
            program: that is loaded.
            spot: where in the process.
            what: can't be done if this raises.
            held: the process waits for this one.

        Raises:
            AccessError: the process is another user's.
            BpfError: it does not listen, has no such place, or refuses the program.
        """
        peer = connect(pid, folder, what)
        try:
            flags = (HELD if held else 0) | (INSIDE if spot.inside else 0)
            numbers = spot.kind, flags, spot.where, spot.cookie, spot.semaphore
            request = REQUEST.pack(MAGIC, *numbers, spot.site.encode())
            request += spot.code.pack() if spot.code else bytes(CODE.size)
            code = _sealed(program)
            try:
                socket.send_fds(peer, [request], [code, *(one.fd for one in program.maps)])
            finally:
                os.close(code)
            answer = peer.recv(REPLY.size)
            if len(answer) != REPLY.size:
                raise BpfError(what, "it closed the connection")
            error, sites, _, _, patch, patch_bytes, _, why = REPLY.unpack(answer)
            if error:
                raise _refusal(what, error, why.rstrip(b"\0").decode(errors="replace"))
        except OSError as problem:
            peer.close()
            raise BpfError(what, str(problem)) from problem
        except BaseException:
            peer.close()
            raise
        return cls(peer, sites, patch[:patch_bytes])

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._peer.fileno() < 0

    def close(self) -> Detached | None:
        """Have it detached: when this returns, no thread runs the program. None: the process is gone."""
        try:
            self._peer.shutdown(socket.SHUT_WR)
            answer = self._peer.recv(REPLY.size)
        except OSError:
            answer = b""
        self._peer.close()
        if len(answer) != REPLY.size:
            return None
        _, _, stopped, missed, _, _, _, _ = REPLY.unpack(answer)
        return Detached(stopped, missed)


def connect(pid: int, folder: Path, what: str) -> socket.socket:
    """A connection to a process that listens. Raises: as `Connection.open`."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(_TIMEOUT_S)
    try:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:  # a socket's address has room for 107 bytes only
            peer.connect(f"/proc/self/fd/{handle}/probes.{pid}")
        finally:
            os.close(handle)
    except OSError as error:
        peer.close()
        if isinstance(error, PermissionError):
            raise AccessError(what, str(error), "run as the user of that process") from error
        raise NotListeningError(
            what,
            f"no process listens at {folder}/probes.{pid}: {error.strerror}",
            "it must include wbpf/probe.h, be linked with libwbpf, and have the same WBPF_DIR and WBPF_HOST",
        ) from error
    return peer


class NotListeningError(BpfError):
    """The runtime is not in a process."""


def site_names(pid: int, folder: Path, what: str) -> list[str]:
    """The names of a process's sites, each as often as there is one. Raises: as `Connection.open`."""
    with connect(pid, folder, what) as peer, os.fdopen(os.memfd_create("wbpf-sites"), "r+b") as names:
        try:
            request = REQUEST.pack(MAGIC, AttachKind.LIST, 0, 0, 0, 0, b"") + bytes(CODE.size)
            socket.send_fds(peer, [request], [names.fileno()])
            answer = peer.recv(REPLY.size)
        except OSError as problem:
            raise BpfError(what, str(problem)) from problem
        if len(answer) != REPLY.size:
            raise BpfError(what, "it closed the connection")
        error, *_, why = REPLY.unpack(answer)
        if error:
            raise _refusal(what, error, why.rstrip(b"\0").decode(errors="replace"))
        names.seek(0)
        return names.read().decode(errors="replace").split()


class NoPlaceError(BpfError):
    """There is no such place in a process."""


def _refusal(what: str, error: int, why: str) -> BpfError | AccessError:
    if -error == errno.EACCES:
        return AccessError(what, why, "run as the user of that process")
    if -error == errno.ENOENT:
        return NoPlaceError(what, why)
    return BpfError(what, why or os.strerror(-error))


def _sealed(program: UserObjectProgram) -> int:
    """A memfd that its receiver can trust not to change."""
    loaded = program.program
    content = PROGRAM.pack(
        MAGIC,
        len(loaded.code),
        loaded.entry,
        len(loaded.helpers),
        len(program.maps),
        not loaded.is_proved,
        loaded.context.kind,
    )
    content += b"".join(number.to_bytes(4, "little", signed=True) for number in loaded.helpers) + loaded.code
    fd = os.memfd_create("wbpf-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
