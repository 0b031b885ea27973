"""One collector a store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from wbpf.errors import AccessError, ConfigError


def lock_store(store: Path) -> int:
    """Take a store for this process alone; returns a file descriptor that holds it while it is open.

    Raises:
        AccessError: the lock, a file beside the store, can't be made.
        ConfigError: another collector has it.
    """
    path = store.with_name(f"{store.name}.lock")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AccessError(
            f"{path} can't be opened", error.strerror or str(error), "name another --store"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise ConfigError(
            f"another collector writes to {store}",
            f"process {owner or 'unknown'} holds {path}",
            "stop it, or name another --store",
        ) from error
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
    except OSError:  # the disk is full; who holds it is a help, not more
        pass
    return lock
