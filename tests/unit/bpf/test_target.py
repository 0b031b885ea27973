from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.bpf.target import (
    Direction,
    FunctionTarget,
    InterfaceTarget,
    IterTarget,
    Kind,
    NoTarget,
    PathTarget,
    PerfTarget,
    Target,
    TcTarget,
    TracepointTarget,
    UsdtTarget,
    UserTarget,
    XdpMode,
    kind_of,
    parse_targets,
    section_target,
)
from wbpf.errors import ConfigError


@pytest.mark.parametrize(
    ("section", "kind", "target"),
    [
        ("tp/sched/sched_switch", Kind.TRACEPOINT, "sched:sched_switch"),
        ("tracepoint/syscalls/sys_enter_openat", Kind.TRACEPOINT, "syscalls:sys_enter_openat"),
        ("raw_tp.w/x", Kind.RAW_TRACEPOINT, "x"),
        ("?tp_btf/sched_switch", Kind.TP_BTF, "sched_switch"),
        ("fentry.s/f", Kind.FENTRY, "f"),
        ("kprobe.multi/tcp_*", Kind.KPROBE_MULTI, "tcp_*"),
        ("lsm.s/path_rmdir", Kind.LSM, "path_rmdir"),
        ("lsm_cgroup/socket_bind", Kind.LSM_CGROUP, ""),
        ("uprobe//bin/bash:readline", Kind.UPROBE, "/bin/bash:readline"),
        ("usdt/./a:p:n", Kind.USDT, "./a:p:n"),
        ("usdt", Kind.USDT, ""),
        ("cgroup/connect4", Kind.CGROUP, ""),
        ("cgroup_skb/ingress", Kind.CGROUP, ""),
        ("sockops", Kind.CGROUP, ""),
        ("classifier", Kind.TC, ""),
        ("xdp.frags", Kind.XDP, ""),
        ("xdp/devmap", Kind.NOT_ATTACHED, ""),
        ("sk_skb/stream_verdict", Kind.SOCKMAP, ""),
        ("sk_lookup", Kind.SK_LOOKUP, ""),
        ("iter/task", Kind.ITER, ""),
        ("iter.s/task_vma", Kind.ITER, ""),
        ("struct_ops/init", Kind.STRUCT_OPS, ""),
        ("syscall", Kind.NOT_ATTACHED, ""),
        (".text", Kind.NOT_ATTACHED, ""),
    ],
)
def test_sections(section: str, kind: Kind, target: str) -> None:
    assert kind_of(section) is kind
    assert section_target(section) == target


@pytest.mark.parametrize(
    ("section", "text", "targets"),
    [
        ("tp", "sched:a,sched:b", [TracepointTarget("sched", "a"), TracepointTarget("sched", "b")]),
        ("tp/sched/a", None, [TracepointTarget("sched", "a")]),
        ("kprobe", "f+0x10, g+3", [FunctionTarget("f", 16), FunctionTarget("g", 3)]),
        ("kprobe.multi", "tcp_*", [FunctionTarget("tcp_*")]),
        ("uprobe", "/a\\,b:f+8@42", [UserTarget("/a,b", "f", 8, 42)]),
        ("uprobe", "/a:b:f", [UserTarget("/a:b", "f")]),
        ("uprobe", "libc.so.6:0x1040", [UserTarget("libc.so.6", "", 0x1040)]),
        ("uprobe", "/a:write@@GLIBC_2.2.5@7", [UserTarget("/a", "write@@GLIBC_2.2.5", 0, 7)]),
        ("uprobe//a,b:f", None, [UserTarget("/a,b", "f")]),
        ("usdt", "/a:b:p:n@1", [UsdtTarget("/a:b", "p", "n", 1)]),
        ("perf_event", "cpu-clock@99", [PerfTarget("cpu-clock", 99)]),
        ("xdp", "eth0,veth1:generic", [InterfaceTarget("eth0"), InterfaceTarget("veth1", XdpMode.GENERIC)]),
        ("tc", "eth0:egress", [TcTarget("eth0", Direction.EGRESS)]),
        ("socket", "lo", [InterfaceTarget("lo")]),
        ("cgroup/skb", "/sys/fs/cgroup/a", [PathTarget("/sys/fs/cgroup/a")]),
        ("iter/task", "", [IterTarget()]),
        ("iter/bpf_map_elem", "map:flows", [IterTarget(map="flows")]),
        ("iter/task", "pid:7", [IterTarget(pid=7)]),
        ("iter/cgroup", "cgroup:/a:b", [IterTarget(cgroup="/a:b")]),
        ("struct_ops", "", [NoTarget()]),
    ],
)
def test_targets(section: str, text: str | None, targets: list[Target]) -> None:
    assert parse_targets(section, text) == tuple(targets)


@pytest.mark.parametrize(
    ("section", "text", "said"),
    [
        ("tp", "sched", "'sched' is no CATEGORY:NAME"),
        ("tp", "", "CATEGORY:NAME is wanted, and its section names none"),
        ("fentry", "f+1", "'f\\+1' is no NAME"),
        ("uprobe", "/bin/bash", "is no PATH:SYMBOL"),
        ("uprobe", "/bin/bash:@3", "is no PATH:SYMBOL"),
        ("usdt", "/bin/bash:x", "is no PATH:PROVIDER:NAME"),
        ("perf_event", "cpu-clock@0", "is no EVENT@HZ"),
        ("xdp", "eth0:fast", "is no IFACE"),
        ("tc", "eth0", "is no IFACE:ingress|egress"),
        ("tc", "eth0:ingress,", "IFACE:ingress.egress is wanted"),
        ("cgroup/skb", "", "PATH is wanted"),
        ("iter/task", "task:1", "is no \\[map:NAME"),
        ("syscall", "x", "has no target: 'x' was given"),
    ],
)
def test_targets_that_do_not_fit(section: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_targets(section, text)


@given(st.sampled_from([kind.value for kind in Kind]), st.text(max_size=40))
def test_any_text_is_parsed_or_refused(section: str, text: str) -> None:
    try:
        assert parse_targets(section, text)
    except ConfigError as error:
        assert "can't be attached so" in error.what or "has no target" in error.what
