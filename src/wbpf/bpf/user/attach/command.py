"""Commands that programs are to be attached to, looked at before they are started."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from struct import Struct
from struct import error as StructError

from wbpf.errors import BpfError

_HEADER, _SEGMENT = Struct("<16s2H4xQQQ4x3H"), Struct("<II6Q")
_INTERPRETER, _MACHINES = 3, {"x86_64": 62, "aarch64": 183}
_NAMES = {3: "x86", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv"}
_LISTED = re.compile(r"(?:^|=>)\s*(/\S.*?) \(0x", re.MULTILINE)
_SCRIPTS_MOST = 4
_TRACED_BY_KERNEL = "the kernel can trace it: --backend kernel"


def program_of(argv: Sequence[str | os.PathLike[str]], env: Mapping[str, str], what: str) -> tuple[Path, str]:
    """The program that runs if a command is started, and what loads its libraries; nothing is started.

    Args:
        argv: the command; a script is run by the program that its first line names.
        env: its environment.
        what: can't be done if this raises.

    Raises:
        BpfError: it is not there, or nothing can be loaded into it.
    """
    name = os.fspath(argv[0])
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    if found is None:
        there = "/" in name and Path(name).exists()
        raise BpfError(what, f"{name} can't be executed" if there else f"there is no command {name!r}")
    for _ in range(_SCRIPTS_MOST):
        try:
            with Path(found).open("rb") as file:
                head = file.read(256)
        except OSError as error:
            raise BpfError(what, f"{found} can't be read: {error.strerror}") from error
        words = head.partition(b"\n")[0].removeprefix(b"#!").split()
        if not head.startswith(b"#!") or not words:
            return Path(found), interpreter_of(Path(found), what)
        found = os.fsdecode(words[0])
    raise BpfError(what, f"{found} is a script of a script of a script")


def interpreter_of(path: Path, what: str) -> str:
    """What loads a program's libraries. Raises BpfError: nothing does, or it is for another machine."""
    try:
        with path.open("rb") as file:
            _demand_no_privileges(os.fstat(file.fileno()), what)
            ident, _, machine, _, table, _, _, size, count = _HEADER.unpack(file.read(_HEADER.size))
            demand_machine(ident, machine, what)
            file.seek(table)
            headers = file.read(size * count)
            for at in range(count):
                kind, _, offset, _, _, length, _, _ = _SEGMENT.unpack_from(headers, at * size)
                if kind == _INTERPRETER:
                    file.seek(offset)
                    return os.fsdecode(file.read(length).rstrip(b"\0"))
    except StructError:
        raise BpfError(what, f"{path} is no program") from None
    except OSError as error:
        raise BpfError(what, f"{path} can't be read: {error.strerror}") from error
    raise BpfError(what, f"{path} is linked statically: nothing can be loaded into it", _TRACED_BY_KERNEL)


def demand_machine(ident: bytes, machine: int, what: str) -> None:
    """Raise BpfError if an ELF file is not for the machine that this process is for."""
    if not ident.startswith(b"\x7fELF"):
        raise BpfError(what, "it is no program")
    own = platform.machine()
    if machine != _MACHINES.get(own, machine) or ident[4] != 2:
        bits = " of 32 bits" if ident[4] == 1 else ""
        why = f"it is a program{bits} for {_NAMES.get(machine, f'machine {machine}')}, and this is {own}"
        raise BpfError(what, why, _TRACED_BY_KERNEL)


@lru_cache(maxsize=8)
def libraries_of(program: Path, interpreter: str) -> tuple[str, ...]:
    """The libraries that a program is started with: its loader lists them, nothing of them is run."""
    command = [interpreter, "--list", str(program)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(dict.fromkeys(os.path.realpath(one) for one in _LISTED.findall(done.stdout)))


def _demand_no_privileges(status: os.stat_result, what: str) -> None:
    """A program that gains privileges loads nothing of this user's."""
    gains = (status.st_mode & stat.S_ISUID and status.st_uid != os.geteuid()) or (
        status.st_mode & stat.S_ISGID and status.st_gid != os.getegid()
    )
    if gains and "NoNewPrivs:\t1" not in Path("/proc/self/status").read_text():
        raise BpfError(what, "it is setuid or setgid: nothing can be loaded into it", _TRACED_BY_KERNEL)
