"""The pool's exceptions, and which of them an error of the native core becomes."""

from __future__ import annotations

import errno
import os

from wbpf.errors import (
    AccessError,
    FormatError,
    ObjectExists,
    ObjectNotFound,
    ObjectNotSealed,
    PoolError,
    PoolFull,
    StaleViewError,
    WbpfError,
)


class PoolBusyError(PoolError):
    """A process has held the lock over the pool's metadata for longer than any operation takes."""


class PoolCorruptError(PoolError):
    """The pool's metadata contradict each other."""


class UnknownHostError(PoolError):
    """The pool has no host of that name."""


class ViewReleasedError(PoolError):
    """A view, a host or a pool is used after it was released or closed."""


class IntegrityError(PoolError):
    """What this host sees of an object is not the object.

    Attributes:
        result: the `VerifyResult`.
        seen: the `Envelope` that this host sees, or None.
    """

    result: object = None
    seen: object = None


class MissingExtraError(PoolError):
    """An optional dependency is needed and not installed."""


_ABOUT_OBJECTS: dict[int, tuple[type[WbpfError], str, str]] = {
    errno.EEXIST: (ObjectExists, "there is an object of that id", "delete it first, or choose another id"),
    errno.ENOENT: (ObjectNotFound, "there is none of that id", "wait for it with timeout_s, or check the id"),
    errno.EAGAIN: (ObjectNotSealed, "its creator has not sealed it", "wait for it with timeout_s"),
    errno.ENOSPC: (PoolFull, "no free extent is that large", "delete objects, or make a larger pool"),
    errno.ENFILE: (PoolFull, "the directory is full", "delete objects, or give the pool more max_objects"),
    errno.EMFILE: (PoolFull, "this process holds too many objects", "release views that are done with"),
    errno.EALREADY: (PoolError, "it is sealed or aborted already", "create another object"),
    errno.EBADF: (ViewReleasedError, "it was released or closed", "get it again"),
    errno.ESTALE: (StaleViewError, "the object was freed by force", "get it again"),
    errno.EUSERS: (PoolFull, "all process slots of the pool are taken", "end some of its processes"),
}


def _about_file(operation: str, path: object, code: int, detail: str) -> WbpfError:
    what = f"can't {operation} {'host' if operation == 'join' else 'pool'} {path}"
    if code == errno.EEXIST:
        return PoolError(what, detail, "Pool.open() it, or remove it with Pool.unlink_path()")
    if code == errno.ENOENT:
        return PoolError(what, detail, "make it with Pool.create()")
    if code == errno.ENOSPC:
        return PoolFull(what, detail, "choose a smaller size_bytes, or another place (see `df`)")
    if code in (errno.EACCES, errno.EPERM):
        return AccessError(what, detail, "check its owner, group and mode: 0660 is what wBPF gives it")
    if code == errno.EPROTO:
        return FormatError(what, detail, "remove it with Pool.unlink_path() and make it again")
    return PoolError(what, detail)


def error_for(operation: str, subject: object, code: int, detail: str) -> WbpfError:
    """Return the exception for a negative errno of an operation on an object, a host or a pool's file."""
    code = -code
    of_a_file = operation == "join" and code not in (errno.ENOENT, errno.EBUSY, errno.EUSERS)
    if operation in ("make", "open", "remove") or of_a_file:
        return _about_file(operation, subject, code, detail)
    if code == errno.EBUSY:
        return PoolBusyError(
            f"can't {operation} {subject!r}",
            "another process has held the pool's lock for 10 seconds",
            "look for a stopped process among the pool's members",
        )
    if operation == "join" and code == errno.ENOENT:
        return UnknownHostError(f"can't join host {subject!r}", detail, "`Pool.hosts` lists them")
    if code == errno.EINVAL and operation == "name":
        return PoolError(f"{subject!r} can't be an id", "an id has 1 to 63 bytes of UTF-8", "shorten it")
    if operation == "arm":
        why = "too many are armed" if code == errno.EAGAIN else "factor is above 1, operations at least 1"
        return PoolError("can't arm a fault", why)
    kind, why, hint = _ABOUT_OBJECTS.get(code, (PoolError, os.strerror(code), ""))
    return kind(f"can't {operation} {subject!r}", why, hint)


__all__ = [
    "IntegrityError",
    "MissingExtraError",
    "PoolBusyError",
    "PoolCorruptError",
    "UnknownHostError",
    "ViewReleasedError",
    "error_for",
]
