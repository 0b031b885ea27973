"""Each kind of program is attached to a real place and sees exactly what happens there."""

from __future__ import annotations

import errno
import os
import platform
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import Compiled, Subject
from wbpf.bpf import Object
from wbpf.bpf.tracefs import tracepoints
from wbpf.errors import BpfError, ConfigError

NAMES = "TRACEPOINT RAW_TRACEPOINT TP_BTF UPROBE URETPROBE CLOCK XDP TC CONNECT4 SOCKOPS SKB SOCKET SK_LOOKUP"
WHICH = {
    name: number for number, name in enumerate([*NAMES.split(), "SK_MSG", "DISSECTOR", "REUSEPORT", "COOKIE"])
}
GETPGID = {"x86_64": 121, "aarch64": 155}[platform.machine()]
FRAME = b"\xff" * 6 + bytes(6) + b"\x88\xb5" + bytes(46)


class Probe(Object):
    """The object of kinds.bpf.c, loaded for one process."""

    def prepare(self, pid: int) -> None:
        self.variables["syscall_number"] = GETPGID
        self.load()
        self.variables["pid"] = pid

    def count(self, name: str, more: int = 0) -> int:
        key = struct.pack("<I", WHICH[name] + more)
        return int.from_bytes(self.maps["counts"][key], "little")


@pytest.fixture
def probe(compiled: Compiled, subject: Subject) -> Iterator[Probe]:
    with Probe.open(compiled("kinds")) as one:
        one.prepare(subject.pid)
        yield one


@pytest.mark.parametrize(
    ("name", "counter"),
    [("tracepoint", "TRACEPOINT"), ("raw_tracepoint", "RAW_TRACEPOINT"), ("tp_btf", "TP_BTF")],
)
def test_tracepoints(probe: Probe, subject: Subject, name: str, counter: str) -> None:
    subject.work(3)
    with probe.programs[name].attach() as link:
        assert link.attached
        subject.work(7)
    subject.work(5)
    assert probe.count(counter) == 7, "of before and after the link, nothing is counted"


def test_targets_and_cookies(probe: Probe, subject: Subject) -> None:
    attach = probe.programs["tracepoint"].attach
    attach("syscalls:sys_enter_getpgid", cookie=1)
    link = attach("syscalls:sys_exit_getpgid, raw_syscalls:sys_exit", cookie=2)
    subject.work(4)
    assert probe.count("COOKIE", 1) == 4
    assert 8 <= probe.count("COOKIE", 2) <= 14, "of all its calls, and once more of that one"
    link.detach()
    before = probe.count("COOKIE", 2)
    subject.work(1)
    assert (probe.count("COOKIE", 1), probe.count("COOKIE", 2)) == (5, before)
    with pytest.raises(BpfError, match="File exists"):
        attach()


def test_nothing_stays_attached_where_one_of_several_targets_is_wrong(probe: Probe, subject: Subject) -> None:
    with pytest.raises(BpfError) as caught:
        probe.programs["tracepoint"].attach("syscalls:sys_enter_getpgid,syscalls:sys_enter_getpgix")
    assert caught.value.why == "the kernel's category 'syscalls' has no 'sys_enter_getpgix'"
    assert caught.value.hint == "did you mean 'sys_enter_getpgid'?"
    subject.work(2)
    assert probe.count("TRACEPOINT") == 0


def test_links_end_with_their_object(compiled: Compiled, subject: Subject) -> None:
    with Probe.open(compiled("kinds")) as watcher, Probe.open(compiled("kinds")) as one:
        watcher.prepare(subject.pid)
        one.maps["counts"].reuse(watcher.maps["counts"])
        one.prepare(subject.pid)
        link = one.programs["tracepoint"].attach()
        subject.work(2)
        one.close()
        subject.work(3)
        assert not link.attached
        assert watcher.count("TRACEPOINT") == 2


def test_links_end_with_a_killed_process(compiled: Compiled, subject: Subject, tmp_path: Path) -> None:
    owner = f"""
import sys
from wbpf.bpf import Object
probe = Object.open({str(compiled("kinds"))!r})
probe.load()
probe.programs["raw_tracepoint"].attach()
print(probe.programs["raw_tracepoint"].fileno(), flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdin
    fd = int(process.stdout.readline())
    info = Path(f"/proc/{process.pid}/fdinfo/{fd}").read_text()
    number = next(int(line.split()[1]) for line in info.splitlines() if line.startswith("prog_id"))
    assert _is_loaded(number)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while _is_loaded(number) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_loaded(number), "a link would keep its program"


def test_uprobes(probe: Probe, subject: Subject) -> None:
    probe.programs["on_uprobe"].attach(f"{subject.program}:work", cookie=3)
    probe.programs["on_uretprobe"].attach(f"{subject.program}:work@{subject.pid}")
    subject.work(9)
    assert (probe.count("UPROBE"), probe.count("URETPROBE"), probe.count("COOKIE", 3)) == (9, 9, 9)


def test_uprobes_that_have_no_place(probe: Probe, subject: Subject) -> None:
    attach = probe.programs["on_uprobe"].attach
    with pytest.raises(BpfError, match="there is no file '/no/such/file'"):
        attach("/no/such/file:work")
    with pytest.raises(BpfError, match="the file has no such function"):
        attach(f"{subject.program}:wurk")
    with pytest.raises(ConfigError, match="its section names none"):
        attach()


def test_a_static_probe(compiled: Compiled, subject: Subject) -> None:
    with Object.open(compiled("usdt")) as probe:
        probe.load()
        probe.programs["on_work"].attach(f"{subject.program}:subject:work@{subject.pid}", cookie=5)
        subject.work(6)
        assert {name: probe.variables[name] for name in ("calls", "sum", "cookies")} == {
            "calls": 6,
            "sum": 0 + 1 + 2 + 3 + 4 + 5,
            "cookies": 30,
        }
        with pytest.raises(BpfError, match="the file has no such probe"):
            probe.programs["on_work"].attach(f"{subject.program}:subject:wurk")


def test_a_clock(compiled: Compiled) -> None:
    with Probe.open(compiled("kinds")) as probe:
        probe.prepare(os.getpid())
        with pytest.raises(BpfError, match="there is no such event\n  try: did you mean 'cpu-clock'"):
            probe.programs["clock"].attach("cpu-clok@99")
        with probe.programs["clock"].attach("cpu-clock@1000"):
            end = time.process_time() + 0.2
            while time.process_time() < end:
                pass
        assert 50 <= probe.count("CLOCK") <= 400, "200 ms of this process at 1000 Hz"


def test_xdp_and_tc(probe: Probe, network: tuple[str, str]) -> None:
    here, there = network
    probe.programs["on_xdp"].attach(f"{here}:generic")
    probe.programs["on_tc"].attach(f"{here}:ingress,{there}:egress")
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((there, 0))
    before = probe.count("XDP"), probe.count("TC")
    for _ in range(20):
        sender.send(FRAME)
    sender.close()
    deadline = time.monotonic() + 5
    while probe.count("XDP") < before[0] + 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    # The two interfaces say hello to each other (IPv6) as well.
    assert 20 <= probe.count("XDP") - before[0] <= 40
    assert 40 <= probe.count("TC") - before[1] <= 80
    with pytest.raises(BpfError, match="another XDP program is attached there"):
        probe.programs["on_xdp"].attach(f"{here}:generic")
    with pytest.raises(BpfError, match="there is no such interface\n  try: did you mean 'wbpf0'"):
        probe.programs["on_xdp"].attach("wbpf00")


def test_socket_filters(probe: Probe, network: tuple[str, str]) -> None:
    here, there = network
    link = probe.programs["filter"].attach(here)
    sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sender.bind((there, 0))
    for _ in range(5):
        sender.send(FRAME)
    sender.close()
    assert link.socket is not None
    got = 0
    deadline = time.monotonic() + 5
    while got < 5 and time.monotonic() < deadline:
        try:
            got += link.socket.recv(2048) == FRAME
        except BlockingIOError:
            time.sleep(0.01)
    assert got == 5
    assert probe.count("SOCKET") >= 5
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        with probe.programs["filter"].attach(own):
            before = probe.count("SOCKET")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"hello", own.getsockname())
            assert own.recv(100) == b"hello"[: len(b"hello")]
            assert probe.count("SOCKET") > before


def test_sk_lookup(probe: Probe, network: tuple[str, str]) -> None:
    probe.programs["lookup"].attach("/proc/thread-self/ns/net")
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(3):
            socket.create_connection(server.getsockname()).close()
    assert probe.count("SK_LOOKUP") >= 3


def test_a_flow_dissector(probe: Probe, network: tuple[str, str]) -> None:
    link = probe.programs["dissect"].attach("/proc/thread-self/ns/net")
    assert link.attached
    with pytest.raises(BpfError, match="give the path of a network namespace"):
        probe.programs["dissect"].attach("/proc/thread-self/ns/nat")
    link.detach()
    probe.programs["dissect"].attach("/proc/thread-self/ns/net")


def test_sockets_that_share_a_port(probe: Probe) -> None:
    def server(port: int = 0) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), reuse_port=True)

    with server() as one, server(one.getsockname()[1]) as other:
        link = probe.programs["choose"].attach(one)
        for _ in range(3):
            socket.create_connection(other.getsockname()).close()
        assert probe.count("REUSEPORT") == 3
        link.detach()
        socket.create_connection(other.getsockname()).close()
        assert probe.count("REUSEPORT") == 3


def test_cgroup_programs(probe: Probe, cgroup: Path) -> None:
    probe.programs["connect4"].attach(str(cgroup))
    probe.programs["on_sockops"].attach(str(cgroup))
    probe.programs["skb"].attach(str(cgroup))
    client = f"""
import os, socket, sys
open({str(cgroup / "cgroup.procs")!r}, "w").write(str(os.getpid()))
for _ in range(4):
    socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        subprocess.run([sys.executable, "-c", client, str(port)], check=True)
        socket.create_connection(server.getsockname()).close()  # not of the cgroup
    assert (probe.count("CONNECT4"), probe.count("SOCKOPS")) == (4, 4)
    assert probe.count("SKB") >= 4
    with pytest.raises(BpfError, match="it is no cgroup of version 2"):
        probe.programs["connect4"].attach("/tmp")
    with pytest.raises(BpfError, match="No such file or directory\n  try: give the path of a cgroup"):
        probe.programs["connect4"].attach(str(cgroup / "none"))


def test_messages_of_a_sockmap(probe: Probe) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
    ):
        other, _ = server.accept()
        with other, probe.programs["message"].attach("connections"):
            probe.maps["connections"].set_fd(bytes(4), one)
            one.sendall(b"hello")
            assert other.recv(5) == b"hello"
            assert probe.count("SK_MSG") == 1
        one.sendall(b"again")


def test_iterators(probe: Probe, subject: Subject) -> None:
    everybody = probe.programs["tasks"].attach().read()
    assert subject.pid in struct.unpack(f"<{len(everybody) // 4}I", everybody)
    with probe.programs["tasks"].attach(f"pid:{subject.pid}") as link:
        assert link.read() == link.read() == struct.pack("<I", subject.pid)
    probe.maps["visited"].update_batch({struct.pack("<I", i): struct.pack("<I", i * i) for i in range(5)})
    content = probe.programs["elements"].attach("map:visited").read()
    assert sorted(struct.unpack("<5I", content)) == [0, 1, 4, 9, 16]
    with pytest.raises(BpfError, match=r"has no map 'visitet'.*\n  try: did you mean 'visited'"):
        probe.programs["elements"].attach("map:visitet")


def test_what_has_to_come_before(compiled: Compiled) -> None:
    with Probe.open(compiled("kinds")) as probe:
        with pytest.raises(BpfError, match="its object is not loaded\n  try: call load"):
            probe.programs["tracepoint"].attach()
        with pytest.raises(BpfError, match=r"has no program 'tracepont'.*\n  try: did you mean 'tracepoint'"):
            probe.programs["tracepont"]
        probe.programs["on_xdp"].autoload = False
        probe.load()
        with pytest.raises(BpfError, match="its autoload was off"):
            probe.programs["on_xdp"].attach("lo")
        with pytest.raises(BpfError, match="object 'kinds' is loaded\n  try: do it before load"):
            probe.programs["on_tc"].autoload = False
        with pytest.raises(BpfError, match="object 'kinds' is loaded"):
            probe.load()


def test_aiming_at_another_function(compiled: Compiled, subject: Subject) -> None:
    with Probe.open(compiled("kinds")) as probe:
        with pytest.raises(BpfError, match="can't be aimed at 'sys_entr'"):
            probe.programs["tp_btf"].aim("sys_entr")
        probe.programs["tp_btf"].aim("sys_exit")
        probe.variables["syscall_number"] = subject.pid  # what getpgid(0) returned: the group of this test
        probe.load()
        with pytest.raises(BpfError, match="it was loaded for 'sys_exit'\n  try: before load"):
            probe.programs["tp_btf"].attach("sys_enter")
        probe.programs["tp_btf"].attach("sys_exit")


def test_operations_of_the_kernel(compiled: Compiled) -> None:
    available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")
    with Object.open(compiled("congestion")) as probe:
        probe.load()
        (link,) = probe.attach_all()
        assert "wbpf_test_cc" in available.read_text().split()
        link.detach()
        assert "wbpf_test_cc" not in available.read_text().split()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("on_kprobe", "needs kprobes: the kernel was built without CONFIG_KPROBES"),
        ("on_kretprobe", "needs kprobes: the kernel was built without CONFIG_KPROBES"),
        ("on_ksyscall", "needs kprobes: the kernel was built without CONFIG_KPROBES"),
        ("on_multi", "needs kprobes by the function tracer"),
        ("on_fentry", "the kernel forbids it, although no capability is missing"),
        ("on_fexit", "the kernel forbids it, although no capability is missing"),
        ("on_open", "the kernel forbids it, although no capability is missing"),
    ],
)
def test_what_this_kernel_may_lack(compiled: Compiled, subject: Subject, name: str, why: str) -> None:
    """It attaches and counts, or the error says exactly what the kernel lacks."""
    with Object.open(compiled("traced")) as probe:
        for one in probe.programs.values():
            one.autoload = one.name == name
        try:
            probe.load()
            link = probe.programs[name].attach()
        except BpfError as error:
            assert error.why.startswith(why), error
            assert error.hint
            return
        assert link.attached


def test_there_are_tracepoints() -> None:
    assert "syscalls:sys_enter_getpgid" in tracepoints()
    assert "sys_enter_getpgid" in tracepoints("syscalls")
    assert tracepoints("no such category") == []


def _is_loaded(program_id: int) -> bool:
    """Whether the kernel still has a program, by BPF_PROG_GET_FD_BY_ID."""
    import ctypes

    attr = struct.pack("<I", program_id).ljust(120, b"\0")
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, 13, ctypes.c_char_p(attr), len(attr))
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0 or ctypes.get_errno() != errno.ENOENT)
