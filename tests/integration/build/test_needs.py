"""What an object needs is read from the object: programs, helpers through functions, types, maps, kernels."""

from __future__ import annotations

import re

import pytest

from tests.integration.build.conftest import Compile
from wbpf.bpf.elf import sections
from wbpf.bpf.helpers import NUMBERS
from wbpf.build.helper_defs import helper_definitions
from wbpf.build.needs import object_needs, program_type
from wbpf.errors import FormatError
from wbpf.wasm.manifest import Kernel, MapNeeds, ProgramNeeds

SOURCE = """
#include <wbpf/vmlinux.h>
#include <wbpf/program.bpf.h>
#include <wbpf_regs.h>

struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 100); __uint(map_flags, 2);
         __type(key, u32); __type(value, u64); } seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __uint(map_flags, BPF_F_MMAPABLE);
         __uint(key_size, 4); __uint(value_size, 12); } shared SEC(".maps");
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

static long step(u32 index, void *context) { return bpf_get_prandom_u32() & 1; }
__noinline int loops(int count) { return bpf_loop(count, step, 0, 0); }
static __noinline u64 uid(void) { return bpf_get_current_uid_gid(); }

SEC("tp_btf/sched_switch") int BPF_PROG(on_switch, bool preempt, struct task_struct *prev)
{
    bpf_rcu_read_lock();
    int parent = BPF_CORE_READ(prev, real_parent, tgid);
    bpf_rcu_read_unlock();
    return parent + loops(4);
}
SEC("?uprobe.s//bin/sh:main") int on_main(struct pt_regs *ctx)
{
    u32 key = wbpf_arg(ctx, 0) + uid();
    u64 *value = bpf_map_lookup_elem(&seen, &key);
    return value ? *value : 0;
}
SEC("xdp") int on_packet(struct xdp_md *ctx) { return XDP_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""


def test_needs(compiled: Compile) -> None:
    needs = object_needs("case", compiled(SOURCE).read_bytes())
    programs = {program.name: program for program in needs.programs}
    assert programs == {
        "on_switch": ProgramNeeds(
            "on_switch",
            "tp_btf/sched_switch",
            "tracing",
            helpers=("get_prandom_u32", "probe_read_kernel", "loop"),
            kfuncs=("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
            target="sched_switch",
            btf=("struct task_struct.real_parent", "struct task_struct.tgid"),
            kernel=Kernel("5.17", "helper loop"),
        ),
        "on_main": ProgramNeeds(
            "on_main",
            "?uprobe.s//bin/sh:main",
            "kprobe",
            helpers=("map_lookup_elem", "get_current_uid_gid"),
            target="/bin/sh:main",
            btf=("struct pt_regs.di", "struct pt_regs.regs"),
            kernel=Kernel("6.0", "sleepable programs: uprobe.s"),
        ),
        "on_packet": ProgramNeeds("on_packet", "xdp", "xdp", kernel=Kernel("4.8", "programs of section xdp")),
    }
    assert needs.maps == (
        MapNeeds("seen", "lru_hash", 4, 8, 100, 2, Kernel("4.10", "map type lru_hash")),
        MapNeeds("shared", "array", 4, 12, 4, 1024, Kernel("5.5", "flag BPF_F_MMAPABLE")),
    )


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("tp/syscalls/sys_enter_openat", "tracepoint"),
        ("raw_tp.w/x", "raw_tracepoint_writable"),
        ("kretprobe/x", "kprobe"),
        ("lsm.s/file_open", "lsm"),
        ("iter/task", "tracing"),
        ("tc", "sched_cls"),
        ("sockops", "sock_ops"),
        ("cgroup_skb/egress", "cgroup_skb"),
        ("cgroup/connect4", "cgroup_sock_addr"),
        ("cgroup/dev", "cgroup_device"),
        ("socket", "socket_filter"),
        ("sk_msg", "sk_msg"),
        ("xdp/devmap", "xdp"),
        ("struct_ops.s", "struct_ops"),
    ],
)
def test_types_of_programs(section: str, kind: str) -> None:
    assert program_type(section) == kind


def test_the_types_are_those_that_libbpf_takes(compiled: Compile) -> None:
    """The kernel's number of each program's type, by libbpf, has the name that is in the manifest."""
    from wbpf.bpf.kernel import Object

    known = {"kprobe": 2, "xdp": 6, "tracing": 26}
    content = compiled(SOURCE).read_bytes()
    with Object(content, "case") as loaded:
        for program in object_needs("case", content).programs:
            assert loaded.programs[program.name].kind == known[program.type], program


def test_helpers_are_declared_with_the_kernels_numbers(compiler: None) -> None:
    declared = dict(re.findall(r"\*const bpf_(\w+)\).* = \(void \*\)(\d+)ul;", helper_definitions()))
    assert {name: int(number) for name, number in declared.items()} == {
        name: number for name, number in NUMBERS.items() if name != "unspec"
    }


def test_an_object_without_types(compiled: Compile) -> None:
    content = compiled("int f(void) { return 1; }", "-g0").read_bytes()
    assert ".BTF" not in sections(content)
    with pytest.raises(FormatError, match="has no BTF"):
        object_needs("case", content)
