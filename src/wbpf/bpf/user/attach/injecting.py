"""The runtime loaded into a process that runs already.

A thread is stopped where it can hold no lock of the C library, and sent through a piece of code that calls
dlopen() and then goes on where the thread was. The code lies behind the instructions of a library, where its
last page is not used, so that all is changed by one step: a tracer that is killed before or after leaves the
process as it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from pathlib import Path

from wbpf import _native
from wbpf.bpf.user.attach import binary
from wbpf.bpf.user.attach.command import demand_machine
from wbpf.bpf.user.attach.stopping import (
    ORIG_RAX,
    RAX,
    RIP,
    StoppedThread,
    threads_of,
    tracer_of,
    why_no_ptrace,
)
from wbpf.bpf.user.attach.wire import NoPlaceError
from wbpf.errors import AccessError, BpfError

_PAGE = 4096
_CS, _CODE_64 = 17, 0x33
_PATIENCE_S = 5.0
_SETTLED_S = 0.001
#: mmap, mprotect, munmap, brk, mremap, madvise, clone, fork, vfork, futex, clone3: locks may be held.
_BUSY = frozenset((9, 10, 11, 12, 25, 28, 56, 57, 58, 202, 435))
#: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK: the system call is to be made again.
_AGAIN = frozenset((-512, -513, -514, -516))
_LOADERS = ("libc.so.6", "libdl.so.2", "ld-musl-x86_64.so.1")


def inject(pid: int, library: Path, what: str) -> None:
    """Have a process load a library; returns before it has.

    Args:
        pid: of the process.
        library: its path.
        what: can't be done if this raises.

    Raises:
        AccessError: this process may not trace that one.
        BpfError: it is statically linked, or its threads are never where they could be interrupted.
    """
    code, tail, place = _plan(pid, library, what)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        for tid in threads_of(pid):
            with contextlib.suppress(ProcessLookupError):
                thread = StoppedThread(tid, what)
                try:
                    registers = thread.registers()
                    back = _settled(pid, registers, what)
                    if back is None:
                        continue
                    _write(pid, place, code + back.to_bytes(8, "little") + tail, what)
                    registers[RIP], registers[ORIG_RAX] = place, ctypes.c_uint64(-1).value
                    thread.set_registers(registers)
                    return
                finally:
                    thread.resume()
        time.sleep(_SETTLED_S)
    raise BpfError(what, "its threads were never where they could be interrupted", "try again")


def validate_process(pid: int, library: Path, what: str) -> None:
    """Raise what `inject` would, as far as can be told without touching a process. Raises: as `inject`."""
    _plan(pid, library, what)
    if tracer_of(pid):
        raise AccessError(what, *why_no_ptrace(pid))


def _plan(pid: int, library: Path, what: str) -> tuple[bytes, bytes, int]:
    """The code that loads a library, what stands behind it, and where it is put."""
    code = _native.injected_code()
    if not code:
        raise BpfError(what, "nothing can be loaded into a process that runs", "launch the command instead")
    _demand_machine(pid, what)
    dlopen = _dlopen(pid, what)
    tail = dlopen.to_bytes(8, "little") + str(library).encode() + b"\0"
    return code, tail, _unused(pid, len(code) + 8 + len(tail), what)


def _demand_machine(pid: int, what: str) -> None:
    try:
        with Path(f"/proc/{pid}/exe").open("rb") as program:
            head = program.read(20)
    except PermissionError as error:
        raise AccessError(what, *why_no_ptrace(pid)) from error
    except OSError as error:
        if not Path(f"/proc/{pid}").exists():
            raise BpfError(what, f"there is no process {pid}") from error
        raise BpfError(what, "it has ended, or is a thread of the kernel's") from error
    demand_machine(head[:16], int.from_bytes(head[18:20], "little"), what)


def _dlopen(pid: int, what: str) -> int:
    for library in _LOADERS:
        with contextlib.suppress(NoPlaceError):
            file, parts = binary.loaded(pid, library, what)
            for name in ("dlopen", "__libc_dlopen_mode"):
                if name in file.functions:
                    return binary.place(file, parts, file.functions[name].address, what)
    why = "it is linked statically: nothing can be loaded into it"
    raise BpfError(what, why, "the kernel can trace it: --backend kernel")


def _unused(pid: int, size: int, what: str) -> int:
    """Where that many bytes behind the code of a library are not used."""
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for one in binary.mappings(pid, what):
                memory.seek(one.end - _PAGE)
                page = memory.read(_PAGE)
                used = len(page.rstrip(b"\0"))
                if len(page) == _PAGE and _PAGE - used >= size + 32:
                    return (one.end - _PAGE + used + 31) & ~15
    except PermissionError as error:
        raise AccessError(what, *why_no_ptrace(pid)) from error
    except OSError as error:
        raise BpfError(what, f"process {pid}: {error.strerror}") from error
    raise BpfError(what, "none of its libraries has room for the code that loads another")


def _settled(pid: int, registers: ctypes.Array[ctypes.c_uint64], what: str) -> int | None:
    """Where a thread goes on, if it can't be inside of malloc() or the like; None: it can."""
    if registers[_CS] != _CODE_64:
        raise BpfError(what, "it is a 32-bit process")
    call = ctypes.c_int64(registers[ORIG_RAX]).value
    if call >= 0:
        if call in _BUSY:
            return None
        if ctypes.c_int64(registers[RAX]).value in _AGAIN:
            registers[RAX] = call
            return int(registers[RIP]) - 2
        return int(registers[RIP])
    at = int(registers[RIP])
    for one in binary.mappings(pid, what):
        if one.start <= at < one.end:
            name = one.path.rpartition("/")[2]
            return None if name.startswith(("libc.", "libc-", "ld-", "libpthread", "libdl", "ld.")) else at
    return None


def _write(pid: int, place: int, content: bytes, what: str) -> None:
    try:
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(place)
            memory.write(content)
    except OSError as error:
        raise BpfError(what, f"process {pid}: {error.strerror}") from error
