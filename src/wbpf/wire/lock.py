"""One daemon of a kind: a file that it holds locked, with its pid in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from wbpf.errors import AccessError, ConfigError


def take_lock(path: Path, mode: int, *, taken: str, else_use: str, other: str) -> int:
    """Take a lock for this process alone; returns a file descriptor that holds it while it is open.

    Args:
        path: of the lock.
        mode: that it is made with if it is not there.
        taken: what it means that another has it.
        else_use: what to try if it can't be made.
        other: what to name to be out of the other's way.

    Raises:
        AccessError: it can't be made.
        ConfigError: another process has it.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    except OSError as error:
        raise AccessError(f"{path} can't be opened", error.strerror or str(error), else_use) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise ConfigError(
            taken, f"process {owner or 'unknown'} holds {path}", f"stop it, or {other}"
        ) from error
    with contextlib.suppress(OSError):  # the disk is full: who holds it is a help, not more
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    return lock
