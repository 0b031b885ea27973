"""Global variables of an object, as a mapping: `obj.variables["limit"] = 5`."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import Protocol

from wbpf import _native
from wbpf.bpf.nearest import hint
from wbpf.errors import BpfError

Value = bool | int | float | str | bytes
_FLOATS = {4: "<f", 8: "<d"}


@dataclass(frozen=True, slots=True)
class Variable:
    """A global variable.

    Args:
        section: `.rodata` is constant once the object is loaded; `.data` and `.bss` are shared with programs.
        kind: `u`, `i`, `b` (bool), `f`, `c` (char[]), or `o` for what is read and written as bytes.
    """

    name: str
    section: str
    size_bytes: int
    kind: str


class HasVariables(Protocol):
    """What holds the variables of an object: libbpf, or a loaded object in user space."""

    def variables(self) -> list[tuple[str, str, int, str]]:
        """Name, section, size and kind of each."""
        ...

    def get(self, variable: str, size: int, /) -> bytes | int:
        """Its bytes, or a negative errno."""
        ...

    def set(self, variable: str, value: bytes, /) -> int:
        """0, or a negative errno."""
        ...


class Variables(MutableMapping[str, Value]):
    """The variables of one object.

    Integers, booleans, floats and text (of char arrays, without the NULs behind it) have Python's types;
    everything else, and any of them if that is given, is bytes. Before the object is loaded they are what
    programs start with; afterwards programs and this mapping share their memory.
    """

    def __init__(self, native: HasVariables, owner: str) -> None:
        self._native, self._owner = native, owner
        self._known = {row[0]: Variable(*row) for row in native.variables()}

    def describe(self, name: str) -> Variable:
        """Its section, size and kind. Raises BpfError: there is none."""
        if name not in self._known:
            what = f"variable {name!r} of {self._owner!r} can't be used"
            raise BpfError(what, "there is none", hint(name, self._known))
        return self._known[name]

    def content(self, name: str) -> bytes | int:
        """Its bytes, or a negative errno. Raises BpfError: there is none."""
        return self._native.get(name, self.describe(name).size_bytes)

    def __getitem__(self, name: str) -> Value:
        variable = self.describe(name)
        content = self.content(name)
        if isinstance(content, int):
            raise self._error(name, content)
        return _decode(variable, content)

    def __setitem__(self, name: str, value: Value) -> None:
        variable = self.describe(name)
        if error := self._native.set(name, self._encode(variable, value)):
            raise self._error(name, error)

    def __delitem__(self, name: str) -> None:
        raise BpfError(f"variable {name!r} of {self._owner!r} can't be deleted", "it is part of the program")

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def _encode(self, variable: Variable, value: Value) -> bytes:
        size = variable.size_bytes
        try:
            content = _encode(variable, value)
        except (struct.error, OverflowError) as error:
            raise self._unfit(variable, f"{value!r} does not fit into its {size} bytes") from error
        if content is None:
            raise self._unfit(variable, f"{type(value).__name__} is not its type")
        if len(content) != size:
            raise self._unfit(variable, f"it does not have {len(content)} bytes, but {size}")
        return content

    def _unfit(self, variable: Variable, why: str) -> BpfError:
        return unfit(variable.name, self._owner, why)

    def _error(self, name: str, error: int) -> BpfError:
        return failed(name, self._owner, self._known[name].section, error)


def unfit(name: str, owner: str, why: str) -> BpfError:
    """The error for a value that a variable of an object can't have."""
    return BpfError(f"variable {name!r} of {owner!r} can't be set", why)


def failed(name: str, owner: str, section: str, error: int) -> BpfError:
    """The error for a variable that can't be read or written."""
    what = f"variable {name!r} of {owner!r} can't be used"
    if error == -errno.EROFS:
        return BpfError(what, "it is constant, and the object is loaded", "set it before load()")
    if error == -errno.ENOENT:
        return BpfError(what, f"section {section} has no map", "compile it again")
    return BpfError(what, _native.bpf_strerror(error))


def _encode(variable: Variable, value: Value) -> bytes | None:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        text = value.encode()
        fits = variable.kind == "c" and len(text) < variable.size_bytes
        if variable.kind == "c" and not fits:
            raise OverflowError
        return text.ljust(variable.size_bytes, b"\0") if fits else None
    if isinstance(value, bool) or (isinstance(value, int) and variable.kind != "f"):
        if variable.kind not in ("u", "i", "b") or (variable.kind == "b" and value not in (0, 1)):
            return None
        return int(value).to_bytes(variable.size_bytes, "little", signed=variable.kind == "i")
    if variable.kind == "f":
        return struct.pack(_FLOATS[variable.size_bytes], value)
    return None


def _decode(variable: Variable, content: bytes) -> Value:
    if variable.kind == "b":
        return any(content)
    if variable.kind in ("u", "i"):
        return int.from_bytes(content, "little", signed=variable.kind == "i")
    if variable.kind == "f" and variable.size_bytes in _FLOATS:
        return float(struct.unpack(_FLOATS[variable.size_bytes], content)[0])
    if variable.kind == "c":
        return content.partition(b"\0")[0].decode(errors="replace")
    return content
