"""Names for addresses of code: of the kernel's functions, and of those in running processes."""

from __future__ import annotations

import errno
import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError

from wbpf.bpf.elf import read_elf
from wbpf.errors import BpfError, FormatError

_SYMBOL, _SEGMENT = Struct("<IBBHQQ"), Struct("<IIQQQQQQ")
_SYMBOL_TABLES, _FUNCTION, _LOAD = (2, 11), 2, 1
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ \d+\s+(/.*)")
_FARTHEST = 1 << 20

Symbols = list[tuple[int, str]]


def symbolise(addresses: Iterable[int], pid: int | None = None) -> list[str]:
    """A name for each address, as `vfs_read+0x1c`; empty where none is known.

    Args:
        addresses: as stack traces have them.
        pid: of the process that they are in; None for the kernel's.

    Raises:
        BpfError: there is no such process, or it can't be looked into.
    """
    if pid is None:
        symbols = _kernel_symbols()
        return [_name(symbols, address) for address in addresses]
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError as error:
        what = f"process {pid} can't be looked into"
        if isinstance(error, FileNotFoundError):
            raise BpfError(what, "there is no such process", error=errno.ESRCH) from error
        raise BpfError(what, str(error.strerror), error=error.errno or 0) from error
    mappings = [
        (int(found[1], 16), int(found[2], 16), int(found[3], 16), found[4])
        for found in map(_MAPPING.match, maps.splitlines())
        if found
    ]
    return [_name_in_process(pid, mappings, address) for address in addresses]


def _name(symbols: Symbols, address: int) -> str:
    at = bisect_right(symbols, (address, "\U0010ffff")) - 1
    if at < 0 or address - symbols[at][0] > _FARTHEST:
        return ""
    start, name = symbols[at]
    return f"{name}+{address - start:#x}"


def _name_in_process(pid: int, mappings: list[tuple[int, int, int, str]], address: int) -> str:
    for start, end, offset, path in mappings:
        if start <= address < end:
            symbols, segments = _file_symbols(f"/proc/{pid}/root{path.removesuffix(' (deleted)')}")
            in_file = address - start + offset
            for file_offset, size, virtual in segments:
                if file_offset <= in_file < file_offset + size:
                    return _name(symbols, in_file - file_offset + virtual)
    return ""


@lru_cache(maxsize=1)
def _kernel_symbols() -> Symbols:
    found = []
    try:
        with Path("/proc/kallsyms").open() as lines:
            for line in lines:
                address, kind, name = line.split()[:3]
                if kind in "tTwW" and int(address, 16):
                    found.append((int(address, 16), name))
    except OSError:
        return []
    return sorted(found)


@lru_cache(maxsize=64)
def _file_symbols(path: str) -> tuple[Symbols, list[tuple[int, int, int]]]:
    """A file's functions by address, and its executable parts: offset, size, address."""
    try:
        elf = Path(path).read_bytes()
        tables = [section for section in read_elf(elf, machine=None) if section.kind in _SYMBOL_TABLES]
        sections = read_elf(elf, machine=None)
        (table,) = Struct("<Q").unpack_from(elf, 32)
        size, count = Struct("<HH").unpack_from(elf, 54)
        headers = [_SEGMENT.unpack_from(elf, table + at * size) for at in range(count)]
        found: Symbols = []
        for symbols in tables:
            names = sections[symbols.link].content
            for at in range(0, len(symbols.content) - _SYMBOL.size + 1, _SYMBOL.size):
                name, info, _, index, value, _ = _SYMBOL.unpack_from(symbols.content, at)
                if info & 15 == _FUNCTION and index:
                    text = names[name : names.index(b"\0", name)].decode(errors="replace")
                    found.append((value, text))
    except (OSError, FormatError, StructError, ValueError, IndexError):
        return [], []
    segments = [(header[2], header[5], header[3]) for header in headers if header[0] == _LOAD]
    return sorted(found), segments
