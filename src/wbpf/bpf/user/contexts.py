"""What programs get as their context, by the kind of program: as the kernel's, or near to it."""

from __future__ import annotations

from dataclasses import dataclass

from wbpf.bpf.kinds import PROBE_SITE, ProgramType
from wbpf.bpf.target import Kind, kind_of
from wbpf.bpf.user.packets import CONTEXTS, PacketRun
from wbpf.bpf.user.verifier import Context

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
class PlainRun:
    """The context of one run of a program that gets no packet.

    Args:
        memory: what r1 points to.
    """

    memory: bytearray
    data = b""

    @property
    def context(self) -> bytes:
        """As the program left it."""
        return bytes(self.memory)


Run = PlainRun | PacketRun


def context_of(kind: int) -> Context | None:
    """What the verifier is told; None: programs of this kind can't run in user space."""
    if kind in CONTEXTS:
        return CONTEXTS[ProgramType(kind)]
    size = _PLAIN.get(kind)
    if size is None:
        return None
    return Context(size, writable=None if kind == ProgramType.SYSCALL else frozenset(), kind=kind)


def prepare(kind: int, data: bytes, context: bytes) -> Run:
    """The context for a run: of programs for packets `data` is the packet, else `context` is it.

    Raises:
        BpfError: it is no whole packet.
    """
    if kind in CONTEXTS:
        return PacketRun(kind, data, context)
    return PlainRun(bytearray(context.ljust(_PLAIN[kind], b"\0")))
