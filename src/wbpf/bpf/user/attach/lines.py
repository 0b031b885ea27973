"""Where the lines of a source file are in a program: by its DWARF."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from wbpf.errors import BpfError


def address_of(binary: Path, source: str, line: int, what: str) -> int:
    """The address in the file of the first instruction of a line, or of the next line that has one.

    Args:
        binary: the program file or library.
        source: the name of the source file, or the end of its path.
        line: counted from 1.
        what: can't be done if this raises.

    Raises:
        BpfError: there is no such line, the file has no DWARF, or pyelftools is not installed.
    """
    try:
        rows = _rows(str(binary), binary.stat().st_mtime_ns)
    except ImportError as error:
        raise BpfError(what, "needs pyelftools", "pip install 'wbpf[user]'") from error
    except OSError as error:
        raise BpfError(what, f"{binary} can't be read: {error.strerror}") from error
    if not rows:
        raise BpfError(what, f"{binary} has no lines of source files", "compile with -g")
    wanted = source.lstrip("/")
    fitting = [
        (at, address) for name, at, address in rows if f"/{name}".endswith(f"/{wanted}") and at >= line
    ]
    if not fitting:
        raise BpfError(what, f"{source} has no code at line {line} or behind it, if it is a part of {binary}")
    return min(fitting)[1]


@lru_cache(maxsize=8)
def _rows(path: str, changed_ns: int) -> tuple[tuple[str, int, int], ...]:
    """Source file, line and address of each statement."""
    from elftools.elf.elffile import ELFFile

    rows: list[tuple[str, int, int]] = []
    with Path(path).open("rb") as file:
        elf = ELFFile(file)
        if not elf.has_dwarf_info(strict=True):
            return ()
        dwarf = elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            for entry in program.get_entries() if program is not None else ():
                state = entry.state
                if state is not None and state.is_stmt and not state.end_sequence and state.line:
                    rows.append((_source(program, state.file), state.line, state.address))
    return tuple(rows)


def _source(program: Any, number: int) -> str:
    files = program["file_entry"]
    one = files[number if program["version"] >= 5 else number - 1]
    return str(one.name.decode(errors="replace")).lstrip("/")
