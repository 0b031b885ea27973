"""Attaching a program to the probe sites of a process: native/user/attach.h says the same in C."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import TYPE_CHECKING

from wbpf.bpf.user.attach.link import Detached
from wbpf.bpf.user.contexts import PROBE_SITE
from wbpf.envvars import DIR, HOST
from wbpf.errors import AccessError, BpfError, ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.user.attach.traced import Traced
    from wbpf.bpf.user.objects import UserObjectProgram

_MAGIC = 0x3148434154544157
_REQUEST = Struct("<Q256s")
_PROGRAM = Struct("<QQQIIII")
_REPLY = Struct("<iIQQ104s")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TIMEOUT_S = 10.0


class Link:
    """A program attached to the sites of one name in one process, until `detach`, or until this process ends.

    Args:
        sites: how many there are.
    """

    def __init__(self, connection: socket.socket, sites: int) -> None:
        self._connection, self.sites = connection, sites

    def detach(self) -> Detached:
        """When it returns, no thread of the process runs the program any more. Again does nothing.

        Raises:
            BpfError: the process is gone; the maps have what it counted.
        """
        if self._connection.fileno() < 0:
            return Detached(0, 0)
        try:
            self._connection.shutdown(socket.SHUT_WR)
            answer = self._connection.recv(_REPLY.size)
        except OSError:
            answer = b""
        self._connection.close()
        if len(answer) != _REPLY.size:
            raise BpfError("the process with the site is gone", "its end of the connection is closed")
        _, _, stopped, missed, _ = _REPLY.unpack(answer)
        return Detached(stopped, missed)

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BpfError):
            self.detach()


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> Link:
    """To the sites that the section `probe/PROVIDER:NAME` names, or a target `PROVIDER:NAME`.

    Raises:
        ConfigError: no site or no process is named.
        BpfError, AccessError: as `attach_site`.
    """
    what = f"program {program.name!r} can't be attached"
    site = target or program.section.partition("/")[2]
    if ":" not in site:
        raise ConfigError(what, f"{site!r} is no PROVIDER:NAME", "give a target such as shop:order")
    if traced is None:
        raise ConfigError(what, "a probe site is one of a process", "give the process: --pid PID")
    if cookie:
        raise ConfigError(what, "probe sites have no cookies")
    return attach_site(traced.pid, site, program)


def attach_site(pid: int, site: str, program: UserObjectProgram, *, host_dir: Path | None = None) -> Link:
    """Attach a program to probe sites of a running process.

    Args:
        pid: of a process that uses wbpf/probe.h and libwbpf, of the same user.
        site: `provider:name`.
        program: of section `probe/…`, loaded; its maps are shared with the process.
        host_dir: where the process has its socket; `$WBPF_DIR/HOST`.

    Raises:
        AccessError: the process is another user's.
        BpfError: it does not listen, has no such site, or refuses the program; or that is for something else.
    """
    what = f"can't attach to {site!r} of process {pid}"
    if len(site.encode()) > 255 or "\0" in site:
        raise BpfError(what, "its name is not that of a site", "it is PROVIDER:NAME")
    if program.kind != PROBE_SITE:
        raise BpfError(
            what, f"program {program.name!r} is for {program.section!r}", 'it needs SEC("probe/…")'
        )
    connection = _connect(pid, what, host_dir or DIR.read() / HOST.read())
    try:
        code = _sealed(program)
        try:
            descriptors = [code, *(one.fd for one in program.maps)]
            socket.send_fds(connection, [_REQUEST.pack(_MAGIC, site.encode())], descriptors)
        finally:
            os.close(code)
        answer = connection.recv(_REPLY.size)
        if len(answer) != _REPLY.size:
            raise BpfError(what, "it closed the connection")
        error, sites, _, _, why = _REPLY.unpack(answer)
        if error:
            raise _refusal(what, error, why.rstrip(b"\0").decode(errors="replace"))
    except OSError as problem:
        connection.close()
        raise BpfError(what, str(problem)) from problem
    except BaseException:
        connection.close()
        raise
    return Link(connection, sites)


def _refusal(what: str, error: int, why: str) -> BpfError | AccessError:
    if -error == errno.EACCES:
        return AccessError(what, why, "run as the user of that process")
    hint = "readelf -n PROGRAM lists its sites" if -error == errno.ENOENT else ""
    return BpfError(what, why or os.strerror(-error), hint)


def _connect(pid: int, what: str, folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(_TIMEOUT_S)
    try:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:  # a socket's address has room for 107 bytes only
            connection.connect(f"/proc/self/fd/{handle}/probes.{pid}")
        finally:
            os.close(handle)
    except OSError as error:
        connection.close()
        if isinstance(error, PermissionError):
            raise AccessError(what, str(error), "run as the user of that process") from error
        raise BpfError(
            what,
            f"no process listens at {folder}/probes.{pid}: {error.strerror}",
            "it must include wbpf/probe.h, be linked with libwbpf, and have the same WBPF_DIR and WBPF_HOST",
        ) from error
    return connection


def _sealed(program: UserObjectProgram) -> int:
    """A memfd that its receiver can trust not to change."""
    loaded = program.program
    content = _PROGRAM.pack(
        _MAGIC,
        len(loaded.code),
        loaded.entry,
        len(loaded.helpers),
        len(program.maps),
        not loaded.proof.complete,
        0,
    )
    content += b"".join(number.to_bytes(4, "little", signed=True) for number in loaded.helpers) + loaded.code
    fd = os.memfd_create("wbpf-program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd
