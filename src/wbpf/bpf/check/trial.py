"""Programs that do nothing, given to the kernel: whether it takes their kind, place and helpers."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

_SYSCALLS = {"x86_64": 321, "aarch64": 280}
_LOAD = 5
_LOG_BYTES = 1 << 16
_SLEEPABLE = 1 << 4
_ATTR = struct.Struct("<II Q Q II Q II 16s II I I Q II Q II I")
_MOV_R0, _EXIT, _CALL = 0xB7, 0x95, 0x85
_NO_HELPER = ("unknown func", "invalid func", "cannot use helper")


@dataclass(frozen=True, slots=True)
class Trial:
    """A kind of program. Args: type, attach_type: the kernel's numbers; btf_id: of the function it is for."""

    type: int
    attach_type: int = 0
    btf_id: int = 0
    sleepable: bool = False
    result: int = 0


def load_trial(trial: Trial, helper: int | None = None) -> tuple[int, str]:
    """Have the kernel verify a program that does nothing, or calls a helper without sense.

    Returns:
        0 or a negative errno, and what the verifier said. -ENOSYS: the kernel can't be asked on this machine.
    """
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        return -errno.ENOSYS, ""
    code = b"" if helper is None else struct.pack("<BBhi", _CALL, 0, 0, helper)
    code += struct.pack("<BBhi", _MOV_R0, 0, 0, trial.result) + struct.pack("<BBhi", _EXIT, 0, 0, 0)
    instructions, log = ctypes.create_string_buffer(code), ctypes.create_string_buffer(_LOG_BYTES)
    name = ctypes.create_string_buffer(b"GPL")
    attr = _ATTR.pack(
        *(trial.type, len(code) // 8, ctypes.addressof(instructions), ctypes.addressof(name)),
        *(1, _LOG_BYTES, ctypes.addressof(log)),
        *(0, _SLEEPABLE if trial.sleepable else 0, b"wbpf_trial", 0, trial.attach_type),
        *(0, 0, 0, 0, 0, 0, 0, trial.btf_id),
        0,
    )
    content = ctypes.create_string_buffer(attr, 144)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(ctypes.c_long(number), ctypes.c_long(_LOAD), content, ctypes.c_ulong(len(content)))
    if fd < 0:
        return -ctypes.get_errno(), log.value.decode(errors="replace")
    os.close(fd)
    return 0, ""


def knows_helper(trial: Trial, helper: int) -> bool | None:
    """Whether programs of a kind may call a helper; None: could not tell."""
    error, log = load_trial(trial, helper)
    if any(word in log for word in _NO_HELPER):
        return False
    return True if error == 0 or "call bpf_" in log or "R1" in log or "arg#" in log else None
