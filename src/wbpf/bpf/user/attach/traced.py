"""Processes that programs are attached to."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from wbpf import _native
from wbpf.bpf.user.attach import wire
from wbpf.bpf.user.attach.binary import files_of
from wbpf.bpf.user.attach.command import program_of
from wbpf.bpf.user.attach.injecting import inject, validate_process
from wbpf.bpf.user.attach.link import Detached
from wbpf.bpf.user.attach.static import StaticPrograms
from wbpf.bpf.user.attach.stopping import write_code
from wbpf.envvars import DIR, HOST
from wbpf.errors import BpfError, WbpfError

if TYPE_CHECKING:
    from wbpf.bpf.user.objects import UserObjectProgram

#: What is loaded into processes.
RUNTIME = Path(_native.__file__).parent / "_c" / "lib" / "libwbpf-inside.so"
_START_S = 10.0
_LEAVE_S = 1.0
_numbers = itertools.count()

#: Where a program is to be attached in a process, by its number; None: there is no such place in it.
Find = Callable[[int], wire.Spot | None]


class Traced:
    """A process with the runtime in it, and those that descend from it if it was launched.

    Children that are started by fork are traced, and programs that are executed if they are dynamically
    linked and not setuid; each waits until what is attached was attached to it as well.
    """

    def __init__(self, pid: int, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.pid, self.folder = pid, folder
        #: The command, if it was launched.
        self.process = process
        #: What could not be attached to descendants, and which of them are not traced at all.
        self.problems: list[WbpfError] = []
        self._lock = threading.RLock()
        self._links: list[Link] = []
        self._descendants: set[int] = set()
        self._listener: socket.socket | None = None
        self._first: socket.socket | None = None
        self._welcoming: threading.Thread | None = None
        self._static: StaticPrograms | None = None
        self._begun = threading.Event()

    @classmethod
    def of(cls, pid: int, *, host_dir: Path | None = None, load: bool = True) -> Self:
        """A process that runs already.

        Args:
            pid: of this user, unless this is root.
            host_dir: where it has its socket; by default where its environment says.
            load: the runtime is loaded into it if it is not there, and stays.

        Raises:
            AccessError: the process is another user's, or not to be traced.
            BpfError: there is none, or the runtime can't be loaded into it.
        """
        what = f"process {pid} can't be traced"
        folder = host_dir or _folder_of(pid)
        try:
            wire.connect(pid, folder, what).close()
        except wire.NotListeningError:
            if not load:
                raise
            inject(pid, RUNTIME, what)
            _wait_for(pid, folder, what)
        return cls(pid, folder)

    @classmethod
    def launch(
        cls,
        argv: Sequence[str | os.PathLike[str]],
        env: Mapping[str, str] | None = None,
        *,
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> Self:
        """Start a command with the runtime in it; it waits before main() until `go`.

        Args:
            argv: the command.
            env: its environment; None for that of this process.
            stdin: as `subprocess.Popen` has it.
            stdout: likewise.
            stderr: likewise.

        Raises:
            BpfError: it can't be started, is linked statically, or does not load the runtime.
        """
        what = f"{os.fspath(argv[0])!r} can't be traced"
        given = dict(os.environ if env is None else env)
        program_of(argv, given, what)
        folder = DIR.read() / HOST.read()
        folder.mkdir(mode=0o770, parents=True, exist_ok=True)
        name = f"tracer.{os.getpid()}.{next(_numbers)}"
        listener = _listen(folder, name)
        given |= {
            "LD_PRELOAD": " ".join(filter(None, [str(RUNTIME), given.get("LD_PRELOAD", "")])),
            "WBPF_DIR": str(folder.parent),
            "WBPF_HOST": folder.name,
            "WBPF_TRACER": name,
        }
        try:
            process = subprocess.Popen(argv, env=given, stdin=stdin, stdout=stdout, stderr=stderr)
        except OSError as error:
            listener.close()
            (folder / name).unlink(missing_ok=True)
            raise BpfError(what, error.strerror or str(error)) from error
        traced = cls(process.pid, folder, process)
        traced._listener = listener
        traced._welcoming = threading.Thread(target=traced._welcome, args=(folder / name,), daemon=True)
        traced._welcoming.start()
        deadline = time.monotonic() + _START_S
        while not traced._begun.wait(0.02) and process.poll() is None and time.monotonic() < deadline:
            pass
        if not traced._begun.is_set():
            traced.close()
            raise BpfError(
                what,
                "it did not load the runtime",
                f"can it read {RUNTIME}? The kernel can trace it: --backend kernel",
            )
        traced._static = StaticPrograms(traced.pid, traced.problems.append)
        return traced

    def files(self) -> list[Path]:
        """The files whose code it has, its program first. Raises AccessError, BpfError: it is gone."""
        return files_of(self.pid, f"the types of process {self.pid} can't be read")

    def go(self) -> None:
        """Let the command run; again does nothing."""
        with self._lock:
            if self._first is not None:
                with contextlib.suppress(OSError):
                    self._first.send(wire.GO)
                self._first.close()
                self._first = None

    def wait(self, timeout_s: float | None = None) -> int:
        """The command's exit status, negative for a signal.

        Raises:
            BpfError: it was not launched by this.
            subprocess.TimeoutExpired: it runs still.
        """
        return self._launched().wait(timeout_s)

    def poll(self) -> int | None:
        """The same, but None if it runs still."""
        return self._launched().poll()

    def link(self, program: UserObjectProgram, find: Find, what: str) -> Link:
        """Attach a program to a place in it and its descendants, those to come as well.

        The place need not be in the command that was launched: it may be in what that executes.

        Args:
            program: that is loaded.
            find: where the place is in a process.
            what: can't be done if this raises.

        Raises:
            AccessError, BpfError: it can't be attached to the process itself.
        """
        with self._lock:
            link = Link(self, program, find, what)
            try:
                link.add(self.pid, held=self._first is not None)
            except wire.NoPlaceError:
                if self.process is None:
                    raise
            self._links.append(link)
            for pid in tuple(self._descendants):
                self._extend(link, pid, held=False)
        return link

    def forget(self, link: Link) -> None:
        """Attach it to no more processes."""
        with self._lock:
            if link in self._links:
                self._links.remove(link)

    def close(self) -> None:
        """Trace no more processes. A command that was not let go is killed."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener = None
        if self.process is not None and (self._first is not None or not self._begun.is_set()):
            self.process.kill()
            self.process.wait()
            self.go()
        if self._welcoming is not None:
            self._welcoming.join(_LEAVE_S)
        if self._static is not None:
            self._static.close()
        with self._lock:
            self._sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _launched(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise BpfError(f"process {self.pid} can't be waited for", "it was not started by this process")
        return self.process

    # ---- descendants ----

    def _welcome(self, path: Path) -> None:
        listener = self._listener
        assert listener is not None
        with listener:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    break
                with contextlib.suppress(OSError):
                    self._announced(peer)
        path.unlink(missing_ok=True)

    def _announced(self, peer: socket.socket) -> None:
        peer.settimeout(_START_S)
        message = peer.recv(wire.ANNOUNCEMENT.size)
        if len(message) != wire.ANNOUNCEMENT.size:
            peer.close()
            return
        magic, pid, _ = wire.ANNOUNCEMENT.unpack(message)
        if magic == wire.MAGIC and pid == self.pid and not self._begun.is_set():
            self._first = peer
            peer.send(wire.HOLD)
            self._begun.set()
            return
        with peer:
            if magic == wire.MAGIC:
                with self._lock:
                    self._sweep()
                    if pid != self.pid:
                        self._descendants.add(pid)
                    for link in self._links:
                        self._extend(link, pid, held=True)
                peer.send(wire.GO)

    def _sweep(self) -> None:
        """Those that ended without running their destructors leave their sockets."""
        for pid in (*self._descendants, self.pid) if self.process is not None else ():
            if not Path(f"/proc/{pid}").exists():
                self._descendants.discard(pid)
                (self.folder / f"probes.{pid}").unlink(missing_ok=True)

    def _extend(self, link: Link, pid: int, *, held: bool) -> None:
        try:
            link.add(pid, held=held)
        except wire.NoPlaceError:
            pass
        except WbpfError as error:
            if Path(f"/proc/{pid}").exists():
                self.problems.append(error)


class Link:
    """A program attached to a place in a process and its descendants.

    Until `detach`, or until this process ends.

    Args:
        sites: how many places there are in the process itself.
    """

    def __init__(self, traced: Traced, program: UserObjectProgram, find: Find, what: str) -> None:
        self.sites = 0
        self._traced, self._program, self._find, self._what = traced, program, find, what
        self._connections: dict[int, wire.Connection] = {}

    def add(self, pid: int, *, held: bool) -> None:
        """Attach it to one more process; not where there is no such place in a descendant."""
        traced = self._traced
        spot = self._find(pid)
        if spot is None:
            return
        if pid in self._connections:  # it runs another program now
            self._connections.pop(pid).close()
        connection = wire.Connection.open(pid, traced.folder, self._program, spot, self._what, held=held)
        if connection.patch and spot.code is not None:
            try:
                write_code(pid, spot.where, spot.code.original, connection.patch, self._what)
            except BaseException:
                connection.close()
                raise
        self._connections[pid] = connection
        if pid == traced.pid:
            self.sites = connection.sites

    def detach(self) -> Detached:
        """When it returns, no thread of the processes runs the program any more. Again does nothing.

        Raises:
            BpfError: the process is gone; the maps have what it counted.
        """
        self._traced.forget(self)
        connections, self._connections = self._connections, {}
        ended = {pid: connection.close() for pid, connection in connections.items()}
        if self._traced.pid in ended and ended[self._traced.pid] is None:
            raise BpfError("the traced process is gone", "its end of the connection is closed")
        found = [one for one in ended.values() if one is not None]
        return Detached(sum(one.stopped for one in found), sum(one.missed for one in found))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BpfError):
            self.detach()


def validate_traceable(pid: int) -> Path:
    """Raise what `Traced.of` would, as far as can be told without touching a process.

    Args:
        pid: of the process.

    Returns:
        Where it has its socket, or would have it.

    Raises:
        AccessError: the process is another user's, or not to be traced.
        BpfError: there is none, or the runtime can't be loaded into it.
    """
    what = f"process {pid} can't be traced"
    folder = _folder_of(pid)
    try:
        wire.connect(pid, folder, what).close()
    except wire.NotListeningError:
        validate_process(pid, RUNTIME, what)
    return folder


def _folder_of(pid: int) -> Path:
    """Where a process has its socket."""
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="surrogateescape")
        user = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return DIR.read() / HOST.read()
    given = dict(one.split("=", 1) for one in text.split("\0") if "=" in one)
    if user != os.getuid():
        given.setdefault("WBPF_DIR", f"/dev/shm/wbpf-{user}")
    return DIR.read(given) / HOST.read(given)


def _wait_for(pid: int, folder: Path, what: str) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            wire.connect(pid, folder, what).close()
            return
        except wire.NotListeningError as error:
            if time.monotonic() > deadline or not Path(f"/proc/{pid}").exists():
                hint = f"is it stopped, or can't it read {RUNTIME}?"
                raise BpfError(what, "it did not load the runtime", hint) from error
        time.sleep(0.002)


def _listen(folder: Path, name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:  # a socket's address has room for 107 bytes only
        listener.bind(f"/proc/self/fd/{handle}/{name}")
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise BpfError(f"no socket can be made in {folder}", error.strerror or str(error)) from error
    finally:
        os.close(handle)
    return listener
