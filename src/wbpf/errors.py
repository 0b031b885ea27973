"""Every exception that wBPF raises, and the exit status of a command that ends with it.

0 is success, 1 an honest "no" (a check that failed, a fault that was missed) and any error without a status
of its own, 2 a mistake in how a command was called or configured. The others stand at their classes.
"""

from __future__ import annotations


class WbpfError(Exception):
    """The base of wBPF's exceptions: what failed, why, and what to try next.

    Args:
        what: what failed, with the names involved: `ring 'events' can't be made`.
        why: the cause, as far as it is known.
        hint: what to try next, as an order: `set WBPF_DIR to a folder that you may write to`.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text}\n  try: {self.hint}" if self.hint else text


class ConfigError(WbpfError):
    """An option, an environment variable or a configuration file has a value that can't be used."""

    exit_code = 2


class AccessError(WbpfError):
    """The user running wBPF lacks a right; the text names it."""

    exit_code = 3


class SegmentError(WbpfError):
    """A segment can't be made, opened or written: no memory, no such file, another format version."""

    exit_code = 4


class FormatError(WbpfError):
    """Bytes that should hold a known format don't: damaged, cut short, or of an unknown version."""

    exit_code = 5


class PoolError(WbpfError):
    """An operation on a shared-memory pool failed."""

    exit_code = 6


class ObjectExists(PoolError):
    """The pool has an object of that name already."""


class ObjectNotFound(PoolError):
    """The pool has no object of that name."""


class ObjectNotSealed(PoolError):
    """The object is still being written by its creator, so nobody may read it yet."""


class PoolFull(PoolError):
    """No free extent of the pool is large enough."""


class StaleViewError(PoolError):
    """The bytes read through this host's cache are not those of the object's present generation."""


class WireError(WbpfError):
    """A daemon could not be reached, refused the call, or did not answer within its deadline."""

    exit_code = 7


class StoreError(WbpfError):
    """The store of gathered traces can't be opened, read or written."""

    exit_code = 8


class ExportError(WbpfError):
    """A trace can't be written in the format asked for."""

    exit_code = 9


class BpfError(WbpfError):
    """An eBPF object can't be opened, loaded or attached, or one of its maps can't be used.

    Attributes:
        log: all that libbpf and the verifier said; the text of the error has the line that matters.
        errno: the kernel's number for it, above 0; 0 where it has none.
    """

    exit_code = 10
    log = ""

    def __init__(self, what: str, why: str = "", hint: str = "", *, error: int = 0) -> None:
        super().__init__(what, why, hint)
        self.errno = abs(error)


class BuildError(WbpfError):
    """A project can't be built: a compiler is missing or refuses a source.

    Attributes:
        log: all that the compiler said; the text of the error has the first of it.
    """

    exit_code = 11
    log = ""


class WasmError(WbpfError):
    """A WebAssembly module can't be run, or was ended by the host.

    Attributes:
        trace: the functions of the module that were under way, the innermost first.
    """

    exit_code = 12
    trace: tuple[str, ...] = ()


__all__ = [
    "AccessError",
    "BpfError",
    "BuildError",
    "ConfigError",
    "ExportError",
    "FormatError",
    "ObjectExists",
    "ObjectNotFound",
    "ObjectNotSealed",
    "PoolError",
    "PoolFull",
    "SegmentError",
    "StaleViewError",
    "StoreError",
    "WasmError",
    "WbpfError",
    "WireError",
]
