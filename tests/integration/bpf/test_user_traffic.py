"""XDP programs, socket filters and TC programs over captured packets, TAP devices and AF_PACKET sockets."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.bpf.conftest import Compiled
from tests.integration.programs.running import frame, send_frames
from wbpf.bpf import Object
from wbpf.bpf.user.attach.capture import Capture, CapturedPacket, CaptureWriter
from wbpf.bpf.user.attach.packets import PacketLink
from wbpf.bpf.user.objects import UserObject
from wbpf.bpf.user.packets import Target
from wbpf.errors import BpfError, ConfigError, FormatError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
PROGRAMS = Path(__file__).parents[3] / "programs"
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FRAMES = (
    100 * [frame(UDP, ports=(5, 9))]
    + 50 * [frame(UDP, ports=(5, 7), content=100)]
    + 30 * [frame(TCP, ports=(5, 80))]
    + 20 * [frame(ICMP)]
    + 10 * [frame(ICMP6, version=6)]
    + 5 * [frame(UDP, ports=(6, 9), version=6)]
    + 3 * [frame(0)]
)
Program = Callable[[str], Path]


@pytest.fixture(scope="module")
def program(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Compiles the object of one of programs/."""
    from wbpf.build import compile_bpf

    folder = tmp_path_factory.mktemp("programs")
    return lambda name: compile_bpf(PROGRAMS / name / f"{name}.bpf.c", folder / f"{name}.o")


@pytest.fixture
def cable(network: tuple[str, str]) -> tuple[str, str]:
    """The same, on which the kernel says nothing by itself."""
    for name in network:
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    time.sleep(0.05)
    return network


@contextmanager
def loaded(
    kind: type[Object] | type[UserObject], path: Path, **variables: int
) -> Iterator[Object | UserObject]:
    with kind.open(path) as one:
        for name, value in variables.items():
            one.variables[name] = value
        one.load()
        yield one


def attach(one: Object | UserObject, name: str, target: str) -> PacketLink:
    assert isinstance(one, UserObject)
    link = one.programs[name].attach(target)
    assert isinstance(link, PacketLink)
    return link


def write(path: Path, *frames: bytes) -> list[CapturedPacket]:
    packets = [
        CapturedPacket(1_700_000_000_123_456_789 + n * 1001, one, len(one)) for n, one in enumerate(frames)
    ]
    writer = CaptureWriter(path)
    for packet in packets:
        writer.write(packet)
    writer.close()
    return packets


def counted(one: Object | UserObject) -> list[tuple[int, ...]]:
    """By protocol: packets, bytes, dropped of all processors."""
    rows = [value for key, value in sorted(one.maps["counters"].items())]
    return [
        tuple(sum(numbers) for numbers in zip(*struct.iter_unpack("<QQQ", row), strict=True)) for row in rows
    ]


def until(done: Callable[[], bool], what: object = "") -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_xdp_counts_as_in_the_kernel(program: Program, cable: tuple[str, str], tmp_path: Path) -> None:
    """The same packets by a kernel program on one end of a cable, by AF_PACKET there, and from a file."""
    near, far = cable
    path = program("xdp")
    with loaded(Object, path, drop_udp_port=7) as kernel:
        assert isinstance(kernel, Object)
        with kernel.programs["on_packet"].attach(near):
            send_frames(far, *FRAMES)
            until(lambda: sum(row[0] for row in counted(kernel)) == len(FRAMES))
        wanted = counted(kernel)
    with loaded(UserObject, path, drop_udp_port=7) as user:
        link = attach(user, "on_packet", f"packet:{near}")
        send_frames(far, *FRAMES)
        until(lambda: link.packets == len(FRAMES), link.verdicts)
        assert link.detach().missed == 0
        assert counted(user) == wanted
        assert link.verdicts == {"pass": len(FRAMES) - 50, "drop": 50}
    packets = write(tmp_path / "in.pcap", *FRAMES)
    with loaded(UserObject, path, drop_udp_port=7) as user:
        link = attach(user, "on_packet", f"pcap:{tmp_path}/in.pcap,{tmp_path}/out.pcap")
        assert link.wait(20)
        link.detach()
        assert counted(user) == wanted
        assert link.verdicts == {"pass": len(FRAMES) - 50, "drop": 50}
    dropped = frame(UDP, ports=(5, 7), content=100)
    assert list(Capture(tmp_path / "out.pcap")) == [one for one in packets if one.data != dropped]


def flows(one: Object | UserObject) -> Counter[tuple[bytes, int, int, int, int]]:
    """Packets and bytes both ways, by flow."""
    found: Counter[tuple[bytes, int, int, int, int]] = Counter()
    for key, value in one.maps["flows"].items():
        found[(key, *struct.unpack_from("<QQQQ", value))] += 1
    return found


def test_netmon_counts_as_in_the_kernel(program: Program, cable: tuple[str, str], tmp_path: Path) -> None:
    near, far = cable
    path = program("netmon")
    answers = FRAMES[:40]

    def send(done: Callable[[], int]) -> None:
        send_frames(far, *FRAMES)
        send_frames(near, *answers)
        until(lambda: done() == len(FRAMES) + len(answers), done())

    with loaded(Object, path) as kernel:
        assert isinstance(kernel, Object)
        with (
            kernel.programs["on_ingress"].attach(f"{near}:ingress"),
            kernel.programs["on_egress"].attach(f"{near}:egress"),
        ):
            send(lambda: sum(sum(row[1:3]) for row in flows(kernel)))
        wanted = flows(kernel)
    with loaded(UserObject, path) as user:
        links = [attach(user, f"on_{way}", f"packet:{near}:{way}") for way in ("ingress", "egress")]
        send(lambda: sum(link.packets for link in links))
        for link in links:
            link.detach()
        assert [link.verdicts for link in links] == [{"unspec": len(FRAMES)}, {"unspec": len(answers)}]
        assert flows(user) == wanted
    capture = tmp_path / "both.pcapng"
    write_new(capture, [(one, 1) for one in FRAMES] + [(one, 2) for one in answers])
    with loaded(UserObject, path) as user:
        for way in ("ingress", "egress"):
            with attach(user, f"on_{way}", f"pcap:{capture}:{way}") as link:
                assert link.wait(20)
        assert flows(user) == wanted


def write_new(path: Path, frames: list[tuple[bytes, int]], order: str = "<") -> None:
    """A pcapng file, with directions and nanoseconds."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(f"{order}I", len(body) + 12)
        return struct.pack(f"{order}I", kind) + size + body + size

    content = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1))
    content += block(1, struct.pack(f"{order}HHI HHBxxx HH", 1, 0, 0, 9, 1, 9, 0, 0))
    content += block(5, bytes(12))  # statistics of the interface
    for n, (data, way) in enumerate(frames):
        time_ns = 1_700_000_000_000_000_001 + n
        head = struct.pack(f"{order}IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), len(data))
        padded = data + bytes(-len(data) % 4)
        content += block(6, head + padded + struct.pack(f"{order}HHIHH", 2, 4, way, 0, 0))
    path.write_bytes(content)


def test_socket_filters_keep_what_they_say(program: Program, cable: tuple[str, str], tmp_path: Path) -> None:
    near, far = cable
    ring_of = {"kernel": Object, "user": UserObject}
    seen = {}
    for name, kind in ring_of.items():
        with loaded(kind, program("sockfilter")) as one, one.maps["events"].ring() as ring:
            if isinstance(one, Object):
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as handle:
                    handle.bind((near, 3))
                    with one.programs["on_packet"].attach(handle):
                        send_frames(far, *FRAMES)
                        until(lambda: True)
                        seen[name] = read(ring, len(FRAMES))
            else:
                with attach(one, "on_packet", f"packet:{near}") as link:
                    send_frames(far, *FRAMES)
                    seen[name] = read(ring, len(FRAMES))
                    assert link.verdicts == {"drop": len(FRAMES)}
    assert seen["kernel"] == seen["user"]
    assert sum(seen["user"].values()) == len(FRAMES)


def read(ring: object, count: int) -> Counter[bytes]:
    """Records without their time."""
    found: Counter[bytes] = Counter()
    until(lambda: (found.update(record[8:] for record in ring.read()), sum(found.values()))[1] >= count)  # type: ignore[attr-defined,func-returns-value]
    return found


@pytest.fixture(scope="module")
def steps(compiled: Compiled) -> Iterator[UserObject]:
    with UserObject.open(compiled("packets")) as one:
        one.load()
        yield one


def test_rewritten_packets_are_written(steps: UserObject, tmp_path: Path) -> None:
    """Longer in front, changed, shorter behind; with the time that they had."""
    rng = random.Random(3)
    packets = write(tmp_path / "in.pcap", *(rng.randbytes(rng.randrange(60, 1500)) for _ in range(700)))
    rows = [(32, 0, 0, -8 & 0xFFFFFFFF, 0), (4, 2, 0, 0xABCD, 0), (33, 0, 0, -10 & 0xFFFFFFFF, 0), (0,) * 5]
    for key, row in enumerate(rows):
        steps.maps["steps"][key.to_bytes(4, "little")] = struct.pack("<IIIIQ", *row)
    steps.variables["verdict"] = 3
    with attach(steps, "on_frame", f"pcap:{tmp_path}/in.pcap,{tmp_path}/out.pcap") as link:
        assert link.wait(20)
    assert link.verdicts == {"tx": 700}
    for before, after in zip(packets, Capture(tmp_path / "out.pcap"), strict=True):
        assert after.time_ns == before.time_ns
        assert after.data[2:4] == b"\xcd\xab"
        assert after.data[8:] == before.data[:-10]
        assert after.whole_bytes == before.whole_bytes or len(after.data) <= len(before.data)


def test_filters_cut(steps: UserObject, tmp_path: Path) -> None:
    """`on_filter` returns 3 times the packet's type and its length: all of it."""
    steps.maps["steps"][bytes(4)] = bytes(24)
    packets = write(tmp_path / "in.pcap", *(bytes([0] * 12 + [8, 0] + [n] * 50) for n in range(9)))
    with attach(steps, "on_filter", f"pcap:{tmp_path}/in.pcap,{tmp_path}/out.pcap") as link:
        assert link.wait(20)
    assert link.verdicts == {"pass": 9}
    assert list(Capture(tmp_path / "out.pcap")) == packets


def test_redirections_are_told(steps: UserObject, tmp_path: Path) -> None:
    write(tmp_path / "in.pcap", *[bytes(60)] * 7)
    steps.variables["place"] = 12
    with attach(steps, "to_device", f"pcap:{tmp_path}/in.pcap") as link:
        assert link.wait(20)
    assert (link.verdicts, link.targets) == ({"redirect": 7}, {Target(None, 0, 12, 12): 7})
    steps.maps["processors"][bytes(4)] = (192).to_bytes(4, "little")
    steps.variables["place"] = 0
    with attach(steps, "to_processor", f"pcap:{tmp_path}/in.pcap") as link:
        assert link.wait(20)
    assert link.targets == {Target(16, steps.maps["processors"].user_id, 0, 192): 7}


@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun: TAP devices")
def test_tap_devices(steps: UserObject, cable: tuple[str, str]) -> None:
    """What the host sends into it goes through the program; XDP_TX comes back."""
    rows = [(4, 6, 0, 0x5555, 0), (0,) * 5]
    for key, row in enumerate(rows):
        steps.maps["steps"][key.to_bytes(4, "little")] = struct.pack("<IIIIQ", *row)
    steps.variables["verdict"] = 3
    sent = [bytes(12) + b"\x88\xb5" + bytes([n]) * 60 for n in range(20)]  # a protocol for experiments
    link = attach(steps, "on_frame", "tap:wbpftap")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as host:
        host.bind(("wbpftap", 0x88B5))
        host.settimeout(10)
        for one in sent:
            host.send(one)
        back = [host.recv(2048) for _ in sent]
    assert back == [bytes(6) + b"\x55\x55" + one[8:] for one in sent]
    link.detach()
    assert link.verdicts["tx"] >= len(sent)
    with pytest.raises(OSError, match="no interface with this name"):
        socket.if_nametoindex("wbpftap")


def test_tx_on_an_interface(steps: UserObject, cable: tuple[str, str]) -> None:
    """Sockets get a VLAN's tag beside the packet; XDP programs see it in the packet."""
    near, far = cable
    for key, row in enumerate([(4, 0, 0, 0x7777, 0), (3, 12, 0, 0, 0), (0,) * 5]):
        steps.maps["steps"][key.to_bytes(4, "little")] = struct.pack("<IIIIQ", *row)
    steps.variables["verdict"] = 3
    with (
        attach(steps, "on_frame", f"packet:{near}") as link,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as peer,
    ):
        peer.bind((far, 0x88B5))
        peer.settimeout(10)
        peer.send(bytes(12) + b"\x88\xb5" + bytes(60))
        assert peer.recv(2048) == b"\x77\x77" + bytes(10) + b"\x88\xb5" + bytes(60)
        before = link.packets
        peer.send(bytes(12) + b"\x81\x00\x00\x05\x88\xb5" + bytes(60))
        until(lambda: link.packets > before)
        number = int.from_bytes(b"\x81\x00\x00\x05", "little").to_bytes(8, "little")
        until(lambda: steps.maps["results"][(1).to_bytes(4, "little")] == number)


def test_what_is_no_capture(steps: UserObject, tmp_path: Path) -> None:
    def refusal(content: bytes) -> str:
        path = tmp_path / "bad"
        path.write_bytes(content)
        with pytest.raises(FormatError) as error:
            attach(steps, "on_frame", f"pcap:{path}").wait(10)
        return str(error.value)

    write(tmp_path / "in.pcap", bytes(60))
    good = (tmp_path / "in.pcap").read_bytes()
    assert "of another format" in refusal(b"PK\x03\x04" + bytes(40))
    assert "cut short" in refusal(good[:10])
    assert "cut short" in refusal(good[:-1])
    assert "link type 113" in refusal(good[:20] + (113).to_bytes(4, "little"))
    with pytest.raises(BpfError, match="No such file"):
        attach(steps, "on_frame", f"pcap:{tmp_path}/none")
    with pytest.raises(ConfigError, match="tap:NAME or packet:IFNAME"):
        attach(steps, "on_frame", "eth0")
    with pytest.raises(ConfigError, match="with :ingress or :egress"):
        attach(steps, "on_buffer", "packet:lo")
    with pytest.raises(BpfError, match="No such device"):
        attach(steps, "on_frame", "packet:wbpfnone")


def test_captures_of_either_byte_order(tmp_path: Path) -> None:
    wanted = [(bytes([n]) * (60 + n), 1 + n % 2) for n in range(5)]
    for order in "<>":
        write_new(tmp_path / "in.pcapng", wanted, order)
        found = list(Capture(tmp_path / "in.pcapng"))
        assert [(one.data, 1 + bool(one.outgoing)) for one in found] == wanted
        assert [one.time_ns for one in found] == [1_700_000_000_000_000_001 + n for n in range(5)]
    old = (
        struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        + struct.pack(">IIII", 5, 7, 14, 60)
        + bytes(14)
    )
    (tmp_path / "old").write_bytes(old)
    assert list(Capture(tmp_path / "old")) == [CapturedPacket(5_000_007_000, bytes(14), 60)]
