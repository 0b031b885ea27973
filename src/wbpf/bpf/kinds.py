"""The kernel's numbers for kinds of maps and programs, with the kernel that each came with."""

from __future__ import annotations

from enum import IntEnum


class MapType(IntEnum):
    """`enum bpf_map_type`."""

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33


class ProgramType(IntEnum):
    """`enum bpf_prog_type`."""

    SOCKET_FILTER = 1
    KPROBE = 2
    SCHED_CLS = 3
    SCHED_ACT = 4
    TRACEPOINT = 5
    XDP = 6
    PERF_EVENT = 7
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    LWT_IN = 10
    LWT_OUT = 11
    LWT_XMIT = 12
    SOCK_OPS = 13
    SK_SKB = 14
    CGROUP_DEVICE = 15
    SK_MSG = 16
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    LWT_SEG6LOCAL = 19
    LIRC_MODE2 = 20
    SK_REUSEPORT = 21
    FLOW_DISSECTOR = 22
    CGROUP_SYSCTL = 23
    RAW_TRACEPOINT_WRITABLE = 24
    CGROUP_SOCKOPT = 25
    TRACING = 26
    STRUCT_OPS = 27
    EXT = 28
    LSM = 29
    SK_LOOKUP = 30
    SYSCALL = 31
    NETFILTER = 32


#: Programs for probe sites, `SEC("probe/…")`: not of the kernel. They get a `struct wbpf_probe_context`.
PROBE_SITE = 1 << 16

#: Kernels that first had them; what is not named is older than any that wBPF runs on (5.10).
SINCE: dict[MapType | ProgramType, str] = {
    MapType.TASK_STORAGE: "5.11",
    MapType.BLOOM_FILTER: "5.16",
    MapType.USER_RINGBUF: "6.1",
    MapType.CGRP_STORAGE: "6.2",
    MapType.ARENA: "6.9",
    ProgramType.SYSCALL: "5.14",
    ProgramType.NETFILTER: "6.4",
}

_TRACING = {
    ProgramType.KPROBE,
    ProgramType.TRACEPOINT,
    ProgramType.PERF_EVENT,
    ProgramType.RAW_TRACEPOINT,
    ProgramType.RAW_TRACEPOINT_WRITABLE,
    ProgramType.TRACING,
    ProgramType.LSM,
    ProgramType.EXT,
}
_NO_NETWORK = _TRACING | {ProgramType.SYSCALL, ProgramType.STRUCT_OPS, ProgramType.SOCKET_FILTER}


def capabilities_for(kind: int) -> tuple[str, ...]:
    """The capabilities that loading a program of a kind takes, besides CAP_SYS_ADMIN, which has them all."""
    if kind in _TRACING:
        return ("CAP_BPF", "CAP_PERFMON")
    if kind in _NO_NETWORK:
        return ("CAP_BPF",)
    return ("CAP_BPF", "CAP_NET_ADMIN")


def name_of(kind: int, names: type[IntEnum]) -> str:
    """`RINGBUF` for 27; a number that is newer than these lists as it is."""
    try:
        return names(kind).name
    except ValueError:
        return f"number {kind}"
