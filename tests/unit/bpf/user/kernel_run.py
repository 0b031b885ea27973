"""Running bare instructions in the kernel, as an XDP program: BPF_PROG_LOAD, BPF_PROG_TEST_RUN of bpf(2)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

from tests.unit.bpf.user.programs import insn

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_LOAD, _TEST_RUN, _XDP = 5, 10, 6
#: r6 is the packet's first byte; programs of packets that are too short end.
PROLOGUE = (
    insn(0x61, 6, 1, 0)
    + insn(0x61, 3, 1, 4)
    + insn(0xBF, 4, 6)
    + insn(0x07, 4, 0, 0, 64)
    + insn(0xBD, 4, 3, 2)
    + insn(0xB7, 0, 0, 0, 0)
    + insn(0x95)
)


class Refused(Exception):
    """The kernel does not take the program; its verifier's words."""


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(_SYSCALL[platform.machine()], command, attributes, len(attributes))
    return result if result >= 0 else -ctypes.get_errno()


def load(code: bytes) -> int:
    """Load an XDP program; returns its descriptor.

    Raises:
        Refused: the verifier refuses it.
        PermissionError: eBPF programs may not be loaded here.
    """
    log = ctypes.create_string_buffer(1 << 20)
    text, license_ = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "<IIQQIIQII16s",
        _XDP,
        len(code) // 8,
        ctypes.addressof(text),
        ctypes.addressof(license_),
        1,
        len(log),
        ctypes.addressof(log),
        0,
        0,
        b"",
    )
    fd = _bpf(_LOAD, ctypes.create_string_buffer(attributes, len(attributes)))
    if fd == -1:
        raise PermissionError
    if fd < 0:
        raise Refused(f"{os.strerror(-fd)}: {log.value.decode()[-600:]}")
    return fd


def run(code: bytes, memory: bytes) -> tuple[int, bytes]:
    """Run a program over a packet; returns the low 32 bits of r0, and the packet."""
    fd = load(code)
    try:
        data, out = ctypes.create_string_buffer(memory, len(memory)), ctypes.create_string_buffer(len(memory))
        values = struct.pack(
            "<IIIIQQII", fd, 0, len(data), len(out), ctypes.addressof(data), ctypes.addressof(out), 1, 0
        )
        attributes = ctypes.create_string_buffer(values + bytes(32))
        error = _bpf(_TEST_RUN, attributes)
        if error < 0:
            raise OSError(-error, os.strerror(-error))
        return struct.unpack_from("<I", attributes.raw, 4)[0], out.raw
    finally:
        os.close(fd)
