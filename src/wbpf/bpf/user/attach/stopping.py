"""Threads of another process stopped, so that its code can be changed: ptrace(2)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from wbpf.errors import AccessError, BpfError

_SEIZE, _INTERRUPT, _GETREGS, _SETREGS, _DETACH = 0x4206, 0x4207, 12, 13, 17
_WALL = 0x40000000
_REGISTERS = 27  # struct user_regs_struct of x86-64
RAX, ORIG_RAX, RIP = 10, 15, 16
_PATIENCE_S = 5.0

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_ptrace.restype = ctypes.c_long

Registers = ctypes.c_uint64 * _REGISTERS


class StoppedThread:
    """One thread, until `resume`; all must be done by the thread that stopped it."""

    def __init__(self, tid: int, what: str) -> None:
        self.tid, self._signal = tid, 0
        if _ptrace(_SEIZE, tid, None, None) < 0:
            raise _refusal(tid, what)
        if _ptrace(_INTERRUPT, tid, None, None) < 0:
            raise _refusal(tid, what)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            stopped = os.waitid(os.P_PID, tid, os.WSTOPPED | os.WNOHANG | _WALL)
            if stopped is not None:
                break
            if _gone(tid):
                raise ProcessLookupError(errno.ESRCH, "the thread has ended")
            if time.monotonic() > deadline:
                self.resume()
                raise BpfError(what, f"its thread {tid} does not stop", "is it waiting for a broken device?")
            time.sleep(0.0002)
        # A signal that was about to be delivered is not lost; what is above it says that it is none.
        self._signal = stopped.si_status if stopped.si_status < 128 else 0

    def registers(self) -> ctypes.Array[ctypes.c_uint64]:
        """`struct user_regs_struct`."""
        found = Registers()
        if _ptrace(_GETREGS, self.tid, None, ctypes.addressof(found)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return found

    def set_registers(self, registers: ctypes.Array[ctypes.c_uint64]) -> None:
        """What it goes on with."""
        if _ptrace(_SETREGS, self.tid, None, ctypes.addressof(registers)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def resume(self) -> None:
        """Let it run."""
        _ptrace(_DETACH, self.tid, None, self._signal)


def threads_of(pid: int) -> list[int]:
    """The threads of a process; none if it is gone."""
    try:
        return [int(one.name) for one in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


@contextlib.contextmanager
def stopped(pid: int, what: str) -> Iterator[list[StoppedThread]]:
    """All threads of a process, stopped.

    Raises:
        AccessError: this process may not trace that one.
        BpfError: it is gone, or a thread does not stop.
    """
    threads: dict[int, StoppedThread] = {}
    try:
        fresh = True
        while fresh:  # those that run may start others
            fresh = False
            for tid in threads_of(pid):
                if tid not in threads:
                    with contextlib.suppress(ProcessLookupError):
                        threads[tid] = StoppedThread(tid, what)
                        fresh = True
        if not threads:
            raise BpfError(what, f"process {pid} is gone")
        yield list(threads.values())
    finally:
        for one in threads.values():
            one.resume()


def write_code(pid: int, where: int, old: bytes, new: bytes, what: str) -> None:
    """Change instructions while no thread is between them.

    Args:
        pid: the process.
        where: their address.
        old: what stands there.
        new: what shall, not longer.
        what: can't be done if this raises.

    Raises:
        AccessError: this process may not trace that one.
        BpfError: it is gone, it changed, or threads stay between the instructions.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with stopped(pid, what) as threads:
            try:
                inside = any(where < one.registers()[RIP] < where + len(old) for one in threads)
                if not inside:
                    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
                        memory.seek(where)
                        found = memory.read(len(old))
                        if found[: len(new)] == new:
                            return
                        if found != old:
                            raise BpfError(what, "another tool has changed the function")
                        memory.seek(where)
                        memory.write(new)
                    return
            except OSError as error:
                raise BpfError(what, f"process {pid}: {error.strerror}") from error
        time.sleep(0.001)
    raise BpfError(what, "a thread is stopped among its first instructions", "try again")


def _gone(tid: int) -> bool:
    try:
        return Path(f"/proc/{tid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _refusal(tid: int, what: str) -> BpfError | AccessError | ProcessLookupError:
    number = ctypes.get_errno()
    if number == errno.ESRCH or _gone(tid):
        return ProcessLookupError(errno.ESRCH, "the thread has ended")
    if number != errno.EPERM:
        return BpfError(what, f"ptrace: {os.strerror(number)}")
    return AccessError(what, *why_no_ptrace(tid))


def _status(tid: int) -> dict[str, str]:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{tid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {}


def tracer_of(tid: int) -> int:
    """What traces a thread; 0: nothing does, or it is gone."""
    return int(_status(tid).get("TracerPid", "0"))


def why_no_ptrace(tid: int) -> tuple[str, str]:
    """Why a thread may not be traced, and what to try."""
    status = _status(tid)
    if tracer := tracer_of(tid):
        return f"process {tracer} traces it already (a debugger?)", "end that first"
    user = int(status.get("Uid", "0").split()[0])
    if os.geteuid() not in (0, user):
        return f"it belongs to user {user}", "run as that user or as root"
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        scope = 0
    if scope and os.geteuid() != 0:
        why = f"/proc/sys/kernel/yama/ptrace_scope is {scope}"
        if scope == 3:
            return f"{why}: nothing may be traced", "launch the command: wbpf run … -- COMMAND"
        return (
            f"{why}: only descendants may be traced",
            "launch the command (wbpf run … -- COMMAND), run as root, or set it to 0",
        )
    return (
        "ptrace: Operation not permitted",
        "it may be not dumpable, or have more capabilities: run as root; containers: --cap-add SYS_PTRACE",
    )
