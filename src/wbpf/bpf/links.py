"""Attached programs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wbpf import _native
from wbpf.errors import BpfError

if TYPE_CHECKING:
    import socket


class Link:
    """An attached program. It is detached with its object, and with this process, however that ends.

    Args:
        socket: that the program filters, if it was opened for that: packets are read from it.
    """

    def __init__(
        self,
        parts: list[_native.BpfLink],
        what: str = "",
        *,
        socket: socket.socket | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        self._parts, self._what, self._then = parts, what, then
        self.socket = socket

    @property
    def attached(self) -> bool:
        """Whether it has not been detached by this process."""
        return bool(self._parts)

    def detach(self) -> None:
        """Detach the program; again has no effect."""
        while self._parts:
            self._parts.pop().destroy()
        if self.socket is not None:
            self.socket.close()
        if self._then is not None:
            self._then()
            self._then = None

    def read(self) -> bytes:
        """Run an iterator: everything that it writes for each of the kernel's objects.

        Raises:
            BpfError: the program is no iterator, or was detached.
        """
        if len(self._parts) != 1:
            raise BpfError(
                f"{self._what} can't be read", "one attached iterator is wanted", error=errno.EOPNOTSUPP
            )
        fd = _native.bpf_iter_open(self._parts[0].fd())
        if fd < 0:
            if fd == -errno.EINVAL:
                raise BpfError(f"{self._what} can't be read", "it is no iterator", error=errno.EOPNOTSUPP)
            raise BpfError(f"{self._what} can't be read", _native.bpf_strerror(fd), error=fd)
        with open(fd, "rb", buffering=0) as file:  # noqa: PTH123
            chunks = []
            while chunk := os.read(file.fileno(), 1 << 20):
                chunks.append(chunk)
            return b"".join(chunks)

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep the program attached beyond this process, until the file is removed.

        Raises:
            BpfError: it is not in a bpffs, is there already, or the kernel has no such link for this kind.
        """
        if len(self._parts) != 1:
            raise BpfError(f"{self._what} can't be pinned", "it is attached to several places, or to none")
        if error := _native.bpf_pin(self._parts[0].fd(), os.fspath(path)):
            raise BpfError(
                f"{self._what} can't be pinned at {os.fspath(path)!r}", _native.bpf_strerror(error)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()
