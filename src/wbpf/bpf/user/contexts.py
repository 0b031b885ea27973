"""What programs get as their context, by the kind of program: as the kernel's, or near to it."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass

from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.target import Kind, kind_of
from wbpf.bpf.user.verifier import Context, Field

#: Programs for probe sites, `SEC("probe/…")`: not of the kernel. They get a `struct wbpf_probe_context`.
PROBE_SITE = 1 << 16
_HEADROOM = 256  # XDP_PACKET_HEADROOM
_XDP = Context(
    24,
    {0: (4, Field.PACKET), 4: (4, Field.PACKET_END)},
    writable=frozenset(),
    places={0: 24, 4: 32},
)
#: Sizes of contexts that are memory of numbers: the largest that a program of this kind may read.
_PLAIN: dict[int, int] = {
    ProgramType.KPROBE: 512,
    ProgramType.TRACEPOINT: 8192,
    ProgramType.RAW_TRACEPOINT: 12 * 8,
    ProgramType.RAW_TRACEPOINT_WRITABLE: 12 * 8,
    ProgramType.TRACING: 12 * 8,
    ProgramType.PERF_EVENT: 512,
    ProgramType.SYSCALL: 4096,
    PROBE_SITE: 9 * 8,
}


_KINDS = {
    Kind.XDP: ProgramType.XDP,
    Kind.TRACEPOINT: ProgramType.TRACEPOINT,
    Kind.RAW_TRACEPOINT: ProgramType.RAW_TRACEPOINT,
    Kind.TP_BTF: ProgramType.TRACING,
    Kind.FENTRY: ProgramType.TRACING,
    Kind.FEXIT: ProgramType.TRACING,
    Kind.PERF_EVENT: ProgramType.PERF_EVENT,
    Kind.SOCKET: ProgramType.SOCKET_FILTER,
    Kind.TC: ProgramType.SCHED_CLS,
}
_PROBES = ("k", "u")


def program_type(section: str) -> int:
    """The kind of program that a section is for; 0 (unspecified) for those that user space does not have."""
    if section.removeprefix("?").startswith("probe/"):
        return PROBE_SITE
    kind = kind_of(section)
    if kind in _KINDS:
        return _KINDS[kind]
    if kind.startswith(_PROBES):
        return ProgramType.KPROBE
    return ProgramType.SYSCALL if section.removeprefix("?") == "syscall" else 0


@dataclass(frozen=True)
class Run:
    """The context of one run, and how to get back what the program made of it.

    Args:
        memory: what r1 points to.
        packet: that it refers to, with the room before it; None if it has none.
    """

    memory: bytearray
    packet: ctypes.Array[ctypes.c_char] | None = None


def context_of(kind: int) -> Context | None:
    """What the verifier is told; None: programs of this kind can't run in user space."""
    if kind == ProgramType.XDP:
        return _XDP
    size = _PLAIN.get(kind)
    if size is None:
        return None
    return Context(size, writable=None if kind == ProgramType.SYSCALL else frozenset())


def prepare(kind: int, data: bytes, context: bytes) -> Run:
    """The context for a run: of XDP programs `data` is the packet, else `context` is it."""
    if kind != ProgramType.XDP:
        return Run(bytearray(context.ljust(_PLAIN[kind], b"\0")))
    packet = ctypes.create_string_buffer(_HEADROOM + len(data))
    ctypes.memmove(ctypes.addressof(packet) + _HEADROOM, data, len(data))
    begin = ctypes.addressof(packet) + _HEADROOM
    given = context.ljust(24, b"\0")[:24]
    return Run(bytearray(given + struct.pack("<QQ", begin, begin + len(data))), packet)


def packet_after(run: Run) -> bytes:
    """The packet as the program left it."""
    if run.packet is None:
        return b""
    begin, end = struct.unpack_from("<QQ", run.memory, 24)
    return ctypes.string_at(begin, end - begin)
