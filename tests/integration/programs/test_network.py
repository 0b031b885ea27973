"""netmon, xdp and sockfilter count what goes over a cable, to the packet."""

from __future__ import annotations

import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.programs import echo
from tests.integration.programs.conftest import Built
from tests.integration.programs.running import (
    Fields,
    Peer,
    Running,
    frame,
    interface_counts,
    ip,
    net_dev,
    own_network,
    send_frames,
)
from wbpf.bpf.user.attach.capture import Capture, CapturedPacket, CaptureWriter

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
HEADERS = 14 + 20 + 8
#: What goes over the cable where no peer answers; 20 bytes behind the headers of IP.
FRAMES = (
    100 * [frame(UDP, ports=(5, 9))]
    + 50 * [frame(UDP, ports=(5, 7), content=100)]
    + 30 * [frame(TCP, ports=(5, 80))]
    + 20 * [frame(ICMP)]
    + 10 * [frame(ICMP6, version=6)]
    + 5 * [frame(UDP, ports=(6, 9), version=6)]
    + 3 * [frame(0)]
)

#: And what it puts before an interface's name.
BACKENDS = {"kernel": "", "user": "packet:"}


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """The ends of a cable, both in a network namespace of this test's own; nothing is up yet."""
    with own_network():
        ip("link add wbpf0 type veth peer name wbpf1")
        yield "wbpf0", "wbpf1"


def row(events: list[Fields], **wanted: object) -> Fields:
    """The one event with these fields."""
    found = [event for event in events if all(event[name] == value for name, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_netmon(built: Built, cable: tuple[str, str]) -> None:
    near, far = cable
    with Running(built("netmon"), interface=near) as netmon:
        peer = Peer(far)
        ip(f"addr add 10.7.0.1/24 dev {near}", f"link set {near} up")
        slow_s = _ask(30, b"slow".ljust(100, b"."))
        _ask(200, bytes(50))
        _talk(40)
        time.sleep(0.1)  # the last acknowledgement
        counts = interface_counts(net_dev(), near)
        peer.close()
    flows = netmon.events
    totals = {name: sum(flow[name] for flow in flows) for name in counts}
    assert totals == counts
    slow = row(flows, protocol="udp", bytes_out=30 * (HEADERS + 100))
    assert (slow["packets_in"], slow["packets_out"], slow["latencies"]) == (30, 30, 30)
    assert echo.SLOW_S <= slow["latency_mean"] / 1e9 <= statistics.mean(slow_s)
    assert slow["latency_mean"] / 1e9 <= slow["latency_max"] / 1e9 <= max(slow_s)
    fast = row(flows, protocol="udp", bytes_in=200 * (HEADERS + 50))
    assert (fast["packets_in"], fast["packets_out"], fast["latencies"]) == (200, 200, 200)
    assert fast["remote"] == echo.ADDRESS
    assert fast["remote_port"] == echo.UDP_PORT
    talk = row(flows, protocol="tcp")
    assert talk["packets_out"] >= 43  # SYN, its acknowledgement, 40 questions, FIN
    assert 40 <= talk["latencies"] <= talk["packets_out"]


def _ask(times: int, question: bytes) -> list[float]:
    """How long each answer took."""
    took_s = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((echo.ADDRESS, echo.UDP_PORT))
        client.settimeout(10)
        for _ in range(times):
            start = time.perf_counter()
            client.send(question)
            assert client.recv(2048) == question
            took_s.append(time.perf_counter() - start)
    return took_s


def _talk(times: int) -> None:
    with socket.create_connection((echo.ADDRESS, echo.TCP_PORT), 10) as client:
        for _ in range(times):
            client.sendall(b"hello")
            assert client.recv(2048) == b"hello"


@pytest.mark.parametrize("backend", BACKENDS)
def test_netmon_counts_each_packet_in_a_flow(built: Built, cable: tuple[str, str], backend: str) -> None:
    near, far = cable
    with Running(built("netmon"), backend=backend, interface=BACKENDS[backend] + near) as netmon:
        ip(f"link set {near} up", f"link set {far} up")
        send_frames(far, *FRAMES)
        send_frames(near, *FRAMES[:10])
        counts = interface_counts(net_dev(), near)
    assert {name: sum(flow[name] for flow in netmon.events) for name in counts} == counts
    assert counts["packets_in"] == len(FRAMES)
    by_port = row(netmon.events, local="10.7.0.2", local_port=9)
    assert (by_port["remote"], by_port["remote_port"], by_port["packets_in"]) == ("10.7.0.1", 5, 100)
    assert row(netmon.events, protocol="icmp6")["remote"] == "fd00::1"
    assert row(netmon.events, protocol="other")["packets_in"] == 3
    assert row(netmon.events, local_port=5, local="10.7.0.1")["packets_out"] == 10


@pytest.mark.parametrize("mode", ["", ":generic"])
def test_xdp(built: Built, cable: tuple[str, str], mode: str) -> None:
    near, far = cable
    with Running(built("xdp"), interface=near + mode, interval=0, drop_udp_port=7) as xdp:
        ip(f"link set {near} up", f"link set {far} up")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as passed:
            passed.bind((near, 3))
            send_frames(far, *FRAMES)
            seen = _received(passed)
        sent = interface_counts(net_dev(), far)
    packets = {event["protocol"]: event["packets"] for event in xdp.events}
    assert packets == {"udp": 155, "tcp": 30, "icmp": 20, "icmp6": 10, "other": 3}
    assert sum(packets.values()) == sent["packets_out"] == len(FRAMES)
    assert sum(event["bytes"] for event in xdp.events) == sum(map(len, FRAMES))
    assert {event["protocol"]: event["dropped"] for event in xdp.events if event["dropped"]} == {"udp": 50}
    assert seen == len(FRAMES) - 50


@pytest.mark.parametrize("source", ["packet", "pcap"])
def test_xdp_in_user_space(built: Built, cable: tuple[str, str], tmp_path: Path, source: str) -> None:
    """The same module, frames and counts as above; the packets of a socket can't be taken from the host."""
    near, far = cable
    writer = CaptureWriter(tmp_path / "in.pcap")
    for n, content in enumerate(FRAMES):
        writer.write(CapturedPacket(n, content, len(content)))
    writer.close()
    target = f"packet:{near}" if source == "packet" else f"pcap:{tmp_path}/in.pcap,{tmp_path}/out.pcap"
    with Running(built("xdp"), backend="user", interface=target, interval=0, drop_udp_port=7) as xdp:
        ip(f"link set {near} up", f"link set {far} up")
        if source == "packet":
            send_frames(far, *FRAMES)
    packets = {event["protocol"]: event["packets"] for event in xdp.events}
    assert packets == {"udp": 155, "tcp": 30, "icmp": 20, "icmp6": 10, "other": 3}
    assert sum(event["bytes"] for event in xdp.events) == sum(map(len, FRAMES))
    assert {event["protocol"]: event["dropped"] for event in xdp.events if event["dropped"]} == {"udp": 50}
    if source == "pcap":
        assert len(list(Capture(tmp_path / "out.pcap"))) == len(FRAMES) - 50


def _received(packets: socket.socket) -> int:
    packets.settimeout(0.3)
    count = 0
    try:
        while packets.recv(2048):
            count += 1
    except TimeoutError:
        return count


@pytest.mark.parametrize("backend", BACKENDS)
def test_sockfilter(built: Built, cable: tuple[str, str], backend: str) -> None:
    near, far = cable
    ip(f"link set {near} up", f"link set {far} up")
    with Running(built("sockfilter"), backend=backend, interface=BACKENDS[backend] + near) as sockfilter:
        send_frames(far, *FRAMES)
        send_frames(near, FRAMES[0])
        counts = interface_counts(net_dev(), near)
    directions = Counter(event["direction"] for event in sockfilter.events)
    assert directions == {"in": len(FRAMES), "out": 1}
    assert directions["in"] == counts["packets_in"]
    assert sum(event["bytes"] for event in sockfilter.events) == counts["bytes_in"] + counts["bytes_out"]
    protocols = Counter(event["protocol"] for event in sockfilter.events if event["direction"] == "in")
    assert protocols == {"udp": 155, "tcp": 30, "icmp": 20, "icmp6": 10, "other": 3}
    assert sockfilter.events[150] | {"time": 0} == {
        "time": 0,
        "source": "10.7.0.1",
        "source_port": 5,
        "destination": "10.7.0.2",
        "destination_port": 80,
        "protocol": "tcp",
        "direction": "in",
        "bytes": len(FRAMES[150]),
    }


def test_sockfilter_loses_nothing_that_its_ring_holds(built: Built, cable: tuple[str, str]) -> None:
    near, far = cable
    ip(f"link set {near} up", f"link set {far} up")
    with Running(built("sockfilter"), interface=near, port=9) as sockfilter:
        for number in range(20):
            send_frames(far, *(1000 * [frame(UDP, ports=(number, 9)), frame(UDP, ports=(9999, 10))]))
    assert Counter(event["source_port"] for event in sockfilter.events) == dict.fromkeys(range(20), 1000)
