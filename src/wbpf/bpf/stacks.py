"""Stack traces that programs took by bpf_get_stackid() or bpf_get_stack(), with names."""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wbpf.bpf.maps import Map
from wbpf.errors import BpfError

_EXECUTABLE = 1  # of a segment's flags


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a stack.

    Args:
        symbol: the function; "" if it is not known.
        offset: behind its beginning; with no symbol, behind that of the file.
        module: the file, or kernel module; `kernel` for the kernel itself.
    """

    address: int
    symbol: str
    offset: int
    module: str

    def __str__(self) -> str:
        name = self.symbol or self.module or hex(self.address)
        return f"{name}+{self.offset:#x}" if name != hex(self.address) else name


def stack(map: Map, stack_id: int) -> list[int]:
    """The addresses of a stack, innermost first.

    Args:
        map: of kind STACK_TRACE.
        stack_id: what bpf_get_stackid() returned.

    Raises:
        BpfError: a negative number: the program could not take the stack, and why.
        KeyError: another stack has taken its place.
    """
    if stack_id < 0:
        reasons = {errno.EFAULT: "there was none", errno.EEXIST: "another stack has the same hash"}
        why = reasons.get(-stack_id, os.strerror(-stack_id))
        raise BpfError(f"the stack can't be read from map {map.name!r}", why)
    return addresses(map[stack_id.to_bytes(4, "little")])


def addresses(content: bytes) -> list[int]:
    """The addresses in a buffer of a program, up to its end or a zero."""
    found = [int.from_bytes(content[at : at + 8], "little") for at in range(0, len(content) // 8 * 8, 8)]
    return found[: found.index(0)] if 0 in found else found


class KernelSymbols:
    """The kernel's functions, as they are now; /proc/kallsyms shows addresses to root alone."""

    def __init__(self, kallsyms: Path = Path("/proc/kallsyms")) -> None:
        try:
            lines = [line.split() for line in kallsyms.read_text().splitlines()]
        except OSError as error:
            raise BpfError("the kernel's symbols can't be read", str(error), "run as root") from error
        rows = sorted(
            (int(line[0], 16), line[2], line[3].strip("[]") if len(line) > 3 else "kernel")
            for line in lines
            if line[1] in "tTwW"
        )
        self._rows = [row for row in rows if row[0]]
        self._starts = [row[0] for row in self._rows]

    def frame(self, address: int) -> Frame:
        """The function that an address is in."""
        at = bisect_right(self._starts, address) - 1
        if at < 0:
            return Frame(address, "", 0, "kernel")
        start, name, module = self._rows[at]
        return Frame(address, name, address - start, module)


class ProcessSymbols:
    """The functions of a process and its libraries, by its memory map as it is now.

    Args:
        pid: of a process that runs; its mount namespace's files are read.

    Raises:
        BpfError: it is gone, may not be looked at, or pyelftools is missing.
    """

    def __init__(self, pid: int) -> None:
        self._root = Path(f"/proc/{pid}/root")
        try:
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        except OSError as error:
            raise BpfError(f"the symbols of process {pid} can't be read", str(error)) from error
        self._mappings = [mapping for line in lines if (mapping := _mapping(line))]
        self._files: dict[str, _File | None] = {}

    def frame(self, address: int) -> Frame:
        """The function that an address is in."""
        for start, end, offset, path in self._mappings:
            if start <= address < end:
                file = self._file(path)
                if file is None:
                    return Frame(address, "", address - start + offset, path)
                return file.frame(address, address - start + offset)
        return Frame(address, "", 0, "")

    def _file(self, path: str) -> _File | None:
        if path not in self._files:
            try:
                self._files[path] = _File(path, self._root / path.lstrip("/"))
            except (OSError, ValueError):
                self._files[path] = None
        return self._files[path]


class _File:
    """A program or library, by pyelftools."""

    def __init__(self, name: str, path: Path) -> None:
        try:
            from elftools.common.exceptions import ELFError
            from elftools.elf.elffile import ELFFile
        except ImportError as error:
            what = "functions of processes can't be named"
            raise BpfError(what, "pyelftools is missing", "pip install 'wbpf[dwarf]'") from error
        self.name = name
        with path.open("rb") as content:
            try:
                self._read(ELFFile(content))
            except ELFError as error:
                raise ValueError(str(error)) from error

    def _read(self, elf: Any) -> None:
        self._segments = [
            (one["p_offset"], one["p_offset"] + one["p_filesz"], one["p_vaddr"])
            for one in elf.iter_segments("PT_LOAD")
            if one["p_flags"] & _EXECUTABLE
        ]
        rows = {
            (one["st_value"], one["st_size"]): one.name
            for section in (".dynsym", ".symtab")
            if (table := elf.get_section_by_name(section)) is not None
            for one in table.iter_symbols()
            if one["st_info"]["type"] == "STT_FUNC" and one["st_value"]
        }
        self._symbols = sorted((start, size, name) for (start, size), name in rows.items())

    @cached_property
    def _starts(self) -> list[int]:
        return [symbol[0] for symbol in self._symbols]

    def frame(self, address: int, offset: int) -> Frame:
        for first, end, virtual in self._segments:
            if first <= offset < end:
                place = offset - first + virtual
                at = bisect_right(self._starts, place) - 1
                if at >= 0:
                    start, size, name = self._symbols[at]
                    if place < start + (size or 1 << 20):
                        return Frame(address, name, place - start, self.name)
        return Frame(address, "", offset, self.name)


def symbolise(stack: Iterable[int], symbols: KernelSymbols | ProcessSymbols) -> list[Frame]:
    """Frames of a stack, innermost first. Callers' addresses are those they return to."""
    frames = []
    for depth, address in enumerate(stack):
        # A call at the very end of a function returns to behind it.
        found = symbols.frame(address - (depth > 0))
        frames.append(Frame(address, found.symbol, found.offset + (depth > 0), found.module))
    return frames


def _mapping(line: str) -> tuple[int, int, int, str] | None:
    parts = line.split(maxsplit=5)
    if len(parts) < 6 or "x" not in parts[1] or not parts[5].startswith("/"):
        return None
    start, _, end = parts[0].partition("-")
    return int(start, 16), int(end, 16), int(parts[2], 16), parts[5]
