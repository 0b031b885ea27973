"""Attaching a program to system calls of a process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wbpf.bpf import nearest
from wbpf.bpf.user.attach.syscall_numbers import NUMBERS
from wbpf.bpf.user.attach.wire import AttachKind, Spot
from wbpf.errors import BpfError, ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.user.attach.traced import Link, Traced
    from wbpf.bpf.user.objects import UserObjectProgram

_RAW = ("raw_tp", "raw_tracepoint")
_ALL, _ALL_RAW = (1 << 64) - 1, (1 << 64) - 2  # native/user/syscalls.h


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> Link:
    """To the calls that the section names, or a target: `syscalls:sys_enter_NAME`, `sys_exit`, ….

    Raises:
        ConfigError: no system call or no process is named.
        BpfError, AccessError: the process does not listen, or its kernel lacks what this needs.
    """
    what = f"program {program.name!r} can't be attached"
    entry, number = call_of(what, program.section, target)
    if traced is None:
        hint = "give the process: --pid PID, or -- COMMAND"
        raise ConfigError(what, "system calls are those of a process in user space", hint)
    spot = Spot(AttachKind.SYSCALL_ENTRY if entry else AttachKind.SYSCALL_EXIT, number, cookie)
    return traced.link(program, lambda pid: spot, f"system calls of process {traced.pid} can't be traced")


def call_of(what: str, section: str, target: str | None) -> tuple[bool, int]:
    """Whether a program is for where calls begin, and the number of the call.

    Raises:
        ConfigError: no system call is named.
        BpfError: they are not traced on this machine.
    """
    kind, _, named = section.removeprefix("?").partition("/")
    found = _place(what, kind in _RAW, (target or named).replace(":", "/"))
    if (machine := os.uname().machine) != "x86_64":
        why = f"system calls are traced in user space on x86-64 alone; this is {machine}"
        raise BpfError(what, why, "use the kernel: --backend kernel")
    return found


def _place(what: str, raw: bool, target: str) -> tuple[bool, int]:
    """Whether it is where calls begin, and the number."""
    group, _, name = target.rpartition("/")
    if raw and not group and name in ("sys_enter", "sys_exit"):
        return name == "sys_enter", _ALL_RAW
    if not raw and group == "raw_syscalls" and name in ("sys_enter", "sys_exit"):
        return name == "sys_enter", _ALL
    call = name.removeprefix("sys_enter_").removeprefix("sys_exit_")
    if raw or group != "syscalls" or call == name:
        hint = "there are syscalls/sys_enter_NAME and sys_exit_NAME, and raw_syscalls/sys_enter and sys_exit"
        raise ConfigError(what, f"there is no tracepoint {target!r} in user space", hint)
    if call not in NUMBERS:
        raise ConfigError(what, f"there is no system call {call!r} on x86-64", nearest.hint(call, NUMBERS))
    return name.startswith("sys_enter_"), NUMBERS[call]
