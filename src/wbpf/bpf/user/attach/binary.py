"""Where functions are: in program files and libraries, and in the processes that run them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError

from wbpf.bpf.elf import read_elf
from wbpf.bpf.nearest import hint
from wbpf.bpf.user.attach.wire import NoPlaceError
from wbpf.errors import AccessError, BpfError, FormatError

_SYMBOL, _SEGMENT = Struct("<IBBHQQ"), Struct("<IIQQQQQQ")
_SYMBOL_TABLES, _FUNCTION, _IFUNC, _LOAD = (2, 11), 2, 10, 1
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (..)x. ([0-9a-f]+) \S+ \d+\s+(/.*)")


@dataclass(frozen=True, slots=True)
class Function:
    """One of a file. Args: address, size: as the file has them; chosen: which it is, is decided at start."""

    name: str
    address: int
    size: int
    chosen: bool = False


@dataclass(frozen=True)
class Binary:
    """The functions of a program file or library.

    Args:
        path: as the process sees it.
        functions: by name.
        segments: those that are loaded: offset in the file, size, address.
        notes: of its USDT probes.
        sites: the addresses of its probe sites.
    """

    path: str
    functions: dict[str, Function]
    segments: tuple[tuple[int, int, int], ...]
    notes: bytes
    sites: range

    def function(self, name: str, what: str) -> Function:
        """One by its name. Raises BpfError: there is none, or it is not there by itself."""
        found = self.functions.get(name)
        if found is None:
            why = f"{self.path} has no function {name!r}"
            raise BpfError(what, why, hint(name, self.functions) or "is it stripped, or inlined?")
        if found.chosen:
            raise BpfError(what, f"{name!r} is one of several functions, chosen at start (IFUNC)")
        return found

    def around(self, address: int) -> Function | None:
        """The function that an address is in."""
        for one in self.functions.values():
            if one.address <= address < one.address + one.size:
                return one
        return None

    def offset(self, address: int, what: str) -> int:
        """Where something is in the file. Raises NoPlaceError: it is not loaded from there."""
        for offset, size, start in self.segments:
            if start <= address < start + size:
                return address - start + offset
        raise NoPlaceError(what, f"{self.path} has nothing at {address:#x}")

    def address(self, offset: int, what: str) -> int:
        """The reverse of `offset`."""
        for at, size, start in self.segments:
            if at <= offset < at + size:
                return offset - at + start
        raise NoPlaceError(what, f"{self.path} has no code at offset {offset:#x}")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Code of a file in a process: where, and from which offset on."""

    start: int
    end: int
    offset: int
    path: str


def mappings(pid: int, what: str) -> list[Mapping]:
    """The code in a process that comes from files.

    Raises:
        AccessError: it is not to be looked into.
        BpfError: it is gone.
    """
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except PermissionError as error:
        raise AccessError(what, str(error), "run as the user of that process") from error
    except FileNotFoundError as error:
        raise BpfError(what, f"there is no process {pid}") from error
    except OSError as error:
        raise BpfError(what, f"process {pid}: {error.strerror}") from error
    return [
        Mapping(int(found[1], 16), int(found[2], 16), int(found[4], 16), found[5])
        for found in map(_MAPPING.match, lines)
        if found
    ]


def loaded(pid: int, name: str, what: str) -> tuple[Binary, list[Mapping]]:
    """A file that is loaded into a process.

    Args:
        pid: of the process.
        name: of the file: a path, or the name of a library or program without it.
        what: can't be done if this raises.

    Raises:
        NoPlaceError: the process has no such file.
        AccessError, BpfError: it can't be looked into.
    """
    found = mappings(pid, what)
    for path in dict.fromkeys(one.path for one in found):
        if _is_same(pid, path, name):
            return read(pid, path, what), [one for one in found if one.path == path]
    if "/" in name and not Path(f"/proc/{pid}/root{name}").exists() and not Path(name).exists():
        raise BpfError(what, f"there is no file {name}")
    names = sorted({Path(one.path).name for one in found})
    raise NoPlaceError(what, f"process {pid} has not loaded {name}", hint(name, names))


def place(binary: Binary, parts: list[Mapping], address: int, what: str) -> int:
    """Where something of a file is in the process. Raises NoPlaceError: it is not loaded."""
    offset = binary.offset(address, what)
    for one in parts:
        if one.offset <= offset < one.offset + one.end - one.start:
            return one.start + offset - one.offset
    raise NoPlaceError(what, f"{binary.path} has no code at {address:#x}")


def read(pid: int, path: str, what: str) -> Binary:
    """The functions of a file that a process sees. Raises BpfError: it can't be read, or is no ELF file."""
    real = f"/proc/{pid}/root{path}"
    if path.endswith(" (deleted)"):
        real = f"/proc/{pid}/exe"
    try:
        status = Path(real).stat()
        return _read(real, path, status.st_ino, status.st_mtime_ns)
    except OSError as error:
        raise BpfError(what, f"{path} can't be read: {error.strerror}") from error
    except (FormatError, StructError, ValueError, IndexError) as error:
        raise BpfError(what, f"{path} is damaged: {error}") from error


def is_called(path: str, name: str) -> bool:
    """Whether a file has a name, or is a library of that name: `c` is libc.so.6."""
    last = path.rpartition("/")[2]
    return last == name or re.match(rf"(lib)?{re.escape(name)}(-[\d.]+)?\.so(\.|$)", last) is not None


def files_of(pid: int, what: str) -> list[Path]:
    """The files whose code a process has, its program first, as seen from here. Raises: as `mappings`."""
    paths = dict.fromkeys(one.path for one in mappings(pid, what))
    try:
        program = str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        program = ""
    return [Path(f"/proc/{pid}/root{path}") for path in sorted(paths, key=lambda path: path != program)]


def _is_same(pid: int, path: str, name: str) -> bool:
    if "/" not in name:
        return is_called(path.removesuffix(" (deleted)"), name)
    if path.removesuffix(" (deleted)") == name:
        return True
    try:
        one, other = Path(f"/proc/{pid}/root{path}").stat(), Path(name).stat()
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


@lru_cache(maxsize=32)
def _read(real: str, path: str, inode: int, changed_ns: int) -> Binary:
    elf = Path(real).read_bytes()
    sections = read_elf(elf, machine=None)
    (table,) = Struct("<Q").unpack_from(elf, 32)
    size, count = Struct("<HH").unpack_from(elf, 54)
    headers = [_SEGMENT.unpack_from(elf, table + at * size) for at in range(count)]
    functions: dict[str, Function] = {}
    for symbols in (section for section in sections if section.kind in _SYMBOL_TABLES):
        names = sections[symbols.link].content
        for name, info, _, index, value, bytes_ in _SYMBOL.iter_unpack(
            symbols.content[: len(symbols.content) // _SYMBOL.size * _SYMBOL.size]
        ):
            if info & 15 in (_FUNCTION, _IFUNC) and index:
                text = names[name : names.index(b"\0", name)].decode(errors="replace")
                one = Function(text, value, bytes_, info & 15 == _IFUNC)
                if one.chosen or text not in functions:  # of memcpy's versions that is the one in use
                    functions[text] = one
    segments = tuple((header[2], header[5], header[3]) for header in headers if header[0] == _LOAD)
    notes = b"".join(one.content for one in sections if one.name == ".note.stapsdt")
    places = next((one for one in sections if one.name == "wbpf_sites"), None)
    sites = range(places.address, places.address + len(places.content)) if places else range(0)
    return Binary(path, functions, segments, notes, sites)
