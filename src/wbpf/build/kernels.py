"""The least kernel that has something: helpers, map types, ways to attach.

Checked by hand against docs/kernel-versions.md of iovisor/bcc and data/feature-versions.yaml of
isovalent/ebpf-docs. Helpers are numbered in the order in which they came.
"""

from __future__ import annotations

from bisect import bisect_left

from wbpf.bpf.target import Kind
from wbpf.wasm.manifest import Kernel

#: The last helper of each release that brought some.
_HELPERS = (
    (3, "3.19"), (11, "4.1"), (16, "4.2"), (22, "4.3"), (25, "4.4"), (26, "4.5"), (30, "4.6"), (36, "4.8"),
    (41, "4.9"), (44, "4.10"), (45, "4.11"), (47, "4.12"), (50, "4.13"), (53, "4.14"), (57, "4.15"),
    (59, "4.16"), (64, "4.17"), (80, "4.18"), (83, "4.19"), (90, "4.20"), (92, "5.0"), (98, "5.1"),
    (108, "5.2"), (109, "5.3"), (110, "5.4"), (115, "5.5"), (118, "5.6"), (124, "5.7"), (135, "5.8"),
    (141, "5.9"), (155, "5.10"), (162, "5.11"), (163, "5.12"), (165, "5.13"), (168, "5.14"), (175, "5.15"),
    (179, "5.16"), (185, "5.17"), (193, "5.18"), (203, "5.19"), (207, "6.0"), (209, "6.1"), (211, "6.2"),
)  # fmt: skip
#: By number of enum bpf_map_type.
_MAPS = (
    "", "3.19", "3.19", "4.2", "4.3", "4.6", "4.6", "4.6", "4.8", "4.10", "4.10", "4.11", "4.12", "4.12",
    "4.14", "4.14", "4.15", "4.18", "4.18", "4.19", "4.19", "4.20", "4.20", "4.20", "5.2", "5.4", "5.6",
    "5.8", "5.10", "5.11", "5.16", "6.1", "6.2", "6.9",
)  # fmt: skip
_ATTACH = {
    Kind.TRACEPOINT: "4.7",
    Kind.RAW_TRACEPOINT: "4.17",
    Kind.TP_BTF: "5.5",
    Kind.FENTRY: "5.5",
    Kind.FEXIT: "5.5",
    Kind.FMOD_RET: "5.7",
    Kind.FREPLACE: "5.6",
    Kind.LSM: "5.7",
    Kind.LSM_CGROUP: "6.0",
    Kind.KPROBE: "4.1",
    Kind.KRETPROBE: "4.1",
    Kind.KPROBE_MULTI: "5.18",
    Kind.KRETPROBE_MULTI: "5.18",
    Kind.KSYSCALL: "4.1",
    Kind.KRETSYSCALL: "4.1",
    Kind.UPROBE: "4.1",
    Kind.URETPROBE: "4.1",
    Kind.USDT: "4.1",
    Kind.PERF_EVENT: "4.9",
    Kind.XDP: "4.8",
    Kind.TC: "4.1",
    Kind.CGROUP: "4.10",
    Kind.SOCKET: "3.19",
    Kind.SK_LOOKUP: "5.9",
    Kind.FLOW_DISSECTOR: "4.20",
    Kind.SOCKMAP: "4.14",
    Kind.SK_REUSEPORT: "4.19",
    Kind.LIRC: "4.18",
    Kind.ITER: "5.8",
    Kind.STRUCT_OPS: "5.6",
}
_MMAPABLE = 1 << 10


def kernel_of_helper(number: int, name: str) -> Kernel | None:
    """The first kernel with a helper; None if it is newer than this table."""
    at = bisect_left(_HELPERS, (number, ""))
    return Kernel(_HELPERS[at][1], f"helper {name}") if at < len(_HELPERS) else None


def kernel_of_map(number: int, name: str, flags: int = 0) -> Kernel | None:
    """The first kernel with maps of a type and with these flags."""
    if not 0 < number < len(_MAPS):
        return None
    known = Kernel(_MAPS[number], f"map type {name}")
    mapped = Kernel("5.5", "flag BPF_F_MMAPABLE") if flags & _MMAPABLE else None
    return latest([known, mapped])


def kernel_of_section(kind: Kind, section: str) -> Kernel | None:
    """The first kernel that attaches programs of a section."""
    first = section.removeprefix("?").partition("/")[0]
    if first.endswith(".s"):
        version = {Kind.UPROBE: "6.0", Kind.URETPROBE: "6.0"}.get(kind, "5.10")
        return Kernel(version, f"sleepable programs: {first}")
    if first in ("raw_tp.w", "raw_tracepoint.w"):
        return Kernel("5.2", f"programs of section {first}")
    return Kernel(_ATTACH[kind], f"programs of section {first}") if kind in _ATTACH else None


def latest(kernels: list[Kernel | None]) -> Kernel | None:
    """The newest of several, which has all that was asked for."""
    known = [kernel for kernel in kernels if kernel is not None]
    return max(known, key=lambda kernel: [int(part) for part in kernel.version.split(".")], default=None)
