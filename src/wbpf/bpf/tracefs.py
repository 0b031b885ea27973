"""The kernel's tracepoints, from tracefs; where none is mounted, from a mount that nobody else sees."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from wbpf import _native
from wbpf.bpf.nearest import hint
from wbpf.errors import AccessError, BpfError


def tracepoint_id(category: str, name: str) -> int:
    """The number by which perf events know a tracepoint.

    Raises:
        BpfError: there is no such tracepoint, or no tracefs in this kernel.
        AccessError: tracefs can't be read.
    """
    with _folder() as folder:
        try:
            fd = os.open(f"events/{category}/{name}/id", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            raise _missing(folder, category, name) from None
        except PermissionError as error:
            raise AccessError(
                f"tracepoint {category}:{name} can't be read", str(error), "run as root"
            ) from error
        with open(fd) as file:  # noqa: PTH123
            return int(file.read())


def tracepoints(category: str | None = None) -> list[str]:
    """All tracepoints, as `CATEGORY:NAME`; or the names of one category, [] if there is none such."""
    with _folder() as folder:
        if category is not None:
            return _list(folder, f"events/{category}")
        return [f"{one}:{name}" for one in _list(folder, "events") for name in _list(folder, f"events/{one}")]


@contextmanager
def _folder() -> Iterator[int]:
    fd = _native.tracefs_open()
    if fd < 0:
        what = "tracepoints can't be looked up"
        why = f"no tracefs is mounted, and none can be: {os.strerror(-fd)}"
        hint = "mount -t tracefs tracefs /sys/kernel/tracing"
        if fd in (-1, -13):
            raise AccessError(what, why, hint)
        raise BpfError(what, why, hint)
    try:
        yield fd
    finally:
        os.close(fd)


def _list(folder: int, path: str) -> list[str]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return []
    try:
        return sorted(entry.name for entry in os.scandir(fd) if entry.is_dir())
    finally:
        os.close(fd)


def _missing(folder: int, category: str, name: str) -> BpfError:
    what = f"tracepoint {category}:{name} can't be attached to"
    names = _list(folder, f"events/{category}")
    if names:
        return BpfError(what, f"the kernel's category {category!r} has no {name!r}", hint(name, names))
    categories = _list(folder, "events")
    return BpfError(what, f"the kernel has no category {category!r}", hint(category, categories))
