"""Folders of machine code that is kept: it is run as it is, so they are the user's own or not used at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CodeFolder:
    """A folder that is used while it is the user's own and nobody else may write to it; so are its files.

    Args:
        path: made if it is not there, when something is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, name: str) -> int | None:
        """A descriptor of a file, to read it; None: there is none, or somebody else could have written it."""
        try:
            folder = self._open()
        except OSError:
            return None
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
        except OSError:
            return None
        finally:
            os.close(folder)
        if _is_own(fd, stat.S_ISREG):
            return fd
        os.close(fd)
        return None

    def read(self, name: str) -> bytes | None:
        """A file's content; None as `open` says."""
        fd = self.open(name)
        if fd is None:
            return None
        with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
            return file.read()

    def keep(self, name: str, write: Callable[[int], bool]) -> None:
        """Put a file in the place of another, whole, unless the folder can't be trusted or written.

        Args:
            name: of both.
            write: writes it to a descriptor; False: it could not.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = self._open()
        except OSError:
            return
        new = f"{name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with suppress(OSError), open(os.open(new, flags, 0o600, dir_fd=folder), "wb") as file:  # noqa: PTH123
                if write(file.fileno()):
                    os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
                    return
            with suppress(OSError):
                os.unlink(new, dir_fd=folder)
        finally:
            os.close(folder)

    def _open(self) -> int:
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if _is_own(fd, stat.S_ISDIR):
            return fd
        os.close(fd)
        raise PermissionError


def _is_own(fd: int, is_kind: Callable[[int], bool]) -> bool:
    status = os.fstat(fd)
    return is_kind(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & _OTHERS
