"""Sockets of guests: what arrives at servers of this test, what is refused, and how long a call takes."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.wasm.guests import MEMORY_BYTES, Cause, End, guest_text, run
from wbpf import _native

FUNCTIONS = tuple(f"socket_{verb}" for verb in ("connect", "send", "receive", "watch", "close"))
FUNCTIONS += ("wait", "last_error", "log")
RECEIVE = "(call $socket_receive (local.get $s) (i32.const 2048) (i32.const {room}) (i32.const {ms}))"
SEND = "(call $socket_send (local.get $s) (i32.const 1024) (i32.const {bytes}) (i32.const {ms}))"
SPEAK = """(drop (call $log (i32.const 0) (i32.const 4096)
  (call $last_error (i32.const 4096) (i32.const 1024))))"""


class Server:
    """A socket that listens, or takes datagrams."""

    def __init__(self, kind: int, where: str | tuple[str, int], family: int = socket.AF_INET) -> None:
        self.socket = socket.socket(family, kind)
        self.socket.settimeout(10)
        self.socket.bind(where)
        if kind == socket.SOCK_STREAM:
            self.socket.listen()

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port


@pytest.fixture
def tcp() -> Iterator[Server]:
    server = Server(socket.SOCK_STREAM, ("127.0.0.1", 0))
    yield server
    server.socket.close()


@pytest.fixture
def udp() -> Iterator[Server]:
    server = Server(socket.SOCK_DGRAM, ("127.0.0.1", 0))
    yield server
    server.socket.close()


def guest(address: str, body: str, *granted: str, timeout_ms: int = 1000, **options: float) -> End:
    """A guest that connects, ends with what went wrong, else does what the body says with `$s`."""
    text = f"""(local $s i32) (local $n i32)
      (local.set $s (call $socket_connect
        (i32.const 128) (i32.const {len(address)}) (i32.const {timeout_ms})))
      (if (i32.lt_s (local.get $s) (i32.const 0)) (then {SPEAK} (call $exit (local.get $s))))
      {body}"""
    data = f'(data (i32.const 128) "{address}") (data (i32.const 1024) "waits:3|c\\n")'
    return run(guest_text(text, *FUNCTIONS, extra=data), addresses=granted or (address,), **options)  # type: ignore[arg-type]


def connect(address: str, *granted: str) -> int:
    """0, or the number of what was wrong."""
    return guest(address, "", *granted or ("unix:/nothing",)).status


# ---- what arrives ----


def test_a_datagram_arrives(udp: Server) -> None:
    end = guest(
        f"udp:127.0.0.1:{udp.port}", f"(call $exit (i32.sub (i32.const 0) {SEND.format(bytes=10, ms=0)}))"
    )
    assert (end.cause, end.status, end.handles) == (Cause.EXITED, 10, 1)
    assert udp.socket.recv(100) == b"waits:3|c\n"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_ipv6(kind: int) -> None:
    try:
        server = Server(kind, ("::1", 0), socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"needs IPv6: {error}")
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    with server.socket:
        body = f"(call $exit (i32.sub (i32.const 0) {SEND.format(bytes=10, ms=0)}))"
        there = f"{protocol}:[::1]:{server.port}"
        assert guest(there, body, f"{protocol}:[0:0:0:0:0:0:0:1]:*").status == 10
        peer = server.socket.accept()[0] if kind == socket.SOCK_STREAM else server.socket
        with peer:
            assert peer.recv(100) == b"waits:3|c\n"
        assert guest(there, body, f"{protocol}:[::2]:*").status == errno.EPERM


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost", "[::ffff:127.0.0.1]"])
def test_a_stream_goes_both_ways_and_ends_with_its_guest(tcp: Server, host: str) -> None:
    seen: list[bytes] = []

    def serve() -> None:
        connection, _ = tcp.socket.accept()
        connection.settimeout(10)
        seen.append(connection.recv(100))
        connection.sendall(b"four")
        seen.append(connection.recv(100))

    thread = threading.Thread(target=serve)
    thread.start()
    body = f"""(drop {SEND.format(bytes=10, ms=0)})
      (call $exit (i32.sub (i32.const 0) {RECEIVE.format(room=64, ms=5000)}))"""
    granted = "tcp:localhost:*" if "l" in host.lower() and "f" not in host else f"tcp:127.0.0.1:{tcp.port}"
    assert guest(f"tcp:{host}:{tcp.port}", body, granted).status == 4
    thread.join(10)
    assert seen == [b"waits:3|c\n", b""]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_path(tmp_path: Path, kind: int) -> None:
    server = Server(kind, str(tmp_path / "x.sock"), socket.AF_UNIX)
    send = f"(call $exit (i32.sub (i32.const 0) {SEND.format(bytes=10, ms=0)}))"
    assert guest(f"unix:{tmp_path}/x.sock", send, f"unix:{tmp_path}/*").status == 10
    end = server.socket.accept()[0] if kind == socket.SOCK_STREAM else server.socket
    assert end.recv(100) == b"waits:3|c\n"
    server.socket.close()


# ---- what is granted ----


@pytest.mark.parametrize(
    ("pattern", "is_good"),
    [
        ("tcp:a:1", True), ("udp:*:*", True), ("tcp:*.example:443", True), ("tcp:[::1]:65535", True),
        ("unix:/run/x.sock", True), ("unix:/run/*", True), ("tcp:10.0.0.1:*", True), ("tcp:a_b-c.d:80", True),
        ("", False), ("tcp:", False), ("tcp:a", False), ("tcp:a:", False), ("tcp::80", False),
        ("tcp:a:0", False),
        ("tcp:a:65536", False), ("tcp:a:000080", False), ("tcp:a:+80", False), ("tcp:a b:80", False),
        ("tcp:10.*:80", False), ("tcp:*a:80", False), ("tcp:a.*:80", False), ("tcp:**:80", False),
        ("tcp:[::1:80", False), ("tcp:[1.2.3.4]:80", False), ("tcp:::1:80", False),
        ("tcp:[fe80::1%lo]:80", False),
        ("tcp:-a:80", False), ("icmp:a:80", False), ("TCP:a:80", False), ("unix:x", False), ("unix:/", False),
        ("unix:/a*", False), ("unix:/*/a", False), ("unix:/" + 107 * "x", False),
        (f"tcp:{254 * 'a'}:80", False),
        ("tcp:\u00e4:80", False),
    ],
)  # fmt: skip
def test_patterns(pattern: str, is_good: bool) -> None:
    assert _native.is_address_pattern(pattern) is is_good


def test_what_is_granted_is_found_by_its_text(tcp: Server, tmp_path: Path) -> None:
    port = tcp.port
    here = f"tcp:127.0.0.1:{port}"
    for granted in ("tcp:*:*", f"tcp:*:{port}", "tcp:127.0.0.1:*", here, f"tcp:[::ffff:7f00:1]:{port}"):
        assert connect(here, granted) == 0, granted
    for granted in (
        f"udp:127.0.0.1:{port}", "tcp:127.0.0.1:1", f"tcp:localhost:{port}", "tcp:*.1:*", "tcp:127.0.0.2:*",
    ):  # fmt: skip
        assert connect(here, granted) == errno.EPERM, granted
    assert connect(f"tcp:localhost:{port}", here) == errno.EPERM  # a name is granted by name alone
    assert connect(f"unix:{tmp_path}/a/b", f"unix:{tmp_path}/*") == errno.EPERM
    assert connect(f"unix:{tmp_path}/", f"unix:{tmp_path}/*") == errno.EPERM
    assert connect(f"unix:{tmp_path}/x", f"unix:{tmp_path}/*") == errno.ENOENT
    assert connect("unix:/etc/passwd", "unix:/etc/*") == errno.ECONNREFUSED


def test_the_words_name_the_pattern_to_add() -> None:
    said: list[str] = []

    from tests.unit.wasm.guests import StubHost

    class Listening(StubHost):
        def answer(self, function: str, arguments: list[object]) -> object:
            said.append(str(arguments[1]))
            return 0

    guest("udp:Metrics.example:9125", "", "udp:other.example:9125", host=Listening())  # type: ignore[arg-type]
    assert said == [
        (
            'socket_connect: udp:metrics.example:9125 is not granted: add "udp:metrics.example:9125" to '
            "capabilities.network in wbpf.toml and build again"
        )
    ]


@pytest.mark.parametrize("name", ["127.1", "2130706433", "0x7f000001", "0"])
def test_a_granted_name_that_is_this_host_is_refused(tcp: Server, name: str) -> None:
    """What libc's resolver takes for a number stands for a name that somebody points here."""
    address = f"tcp:{name}:{tcp.port}"
    assert socket.getaddrinfo(name, tcp.port)[0][4][0] in ("127.0.0.1", "0.0.0.0")
    assert connect(address, address) == errno.EPERM
    number = "0.0.0.0" if name == "0" else "127.0.0.1"
    assert connect(address, address, f"tcp:{number}:*") == 0


@pytest.mark.parametrize(
    "address", ["", "tcp", "tcp:a", "tcp:*:80", "tcp:*.a:80", "tcp:a:*", "http://a:80", "unix:a"]
)
def test_what_is_no_address(address: str) -> None:
    assert connect(address, "tcp:*:*") == errno.EINVAL


def test_a_module_that_is_granted_nothing_reaches_nothing() -> None:
    text = guest_text(
        "(call $exit (call $socket_connect (i32.const 128) (i32.const 16) (i32.const 0)))", "socket_connect",
        extra='(data (i32.const 128) "udp:127.0.0.1:53")',
    )  # fmt: skip
    assert run(text).status == errno.EPERM


# ---- hostile guests ----


def test_nobody_listens(tcp: Server) -> None:
    port = tcp.port
    tcp.socket.close()
    assert connect(f"tcp:127.0.0.1:{port}", "tcp:*:*") == errno.ECONNREFUSED


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (f"(call $socket_send (local.get $s) (i32.const {MEMORY_BYTES - 2}) (i32.const 4) (i32.const 0))",
         errno.EFAULT),
        ("(call $socket_send (local.get $s) (i32.const 0) (i32.const -1) (i32.const 0))", errno.EFAULT),
        ("(call $socket_send (local.get $s) (i32.const -1) (i32.const 1) (i32.const 0))", errno.EFAULT),
        (f"(call $socket_receive (local.get $s) (i32.const {MEMORY_BYTES}) (i32.const 1) (i32.const 0))",
         errno.EFAULT),
        ("(call $socket_receive (local.get $s) (i32.const 64) (i32.const -1) (i32.const 0))", errno.EFAULT),
        ("(call $socket_receive (local.get $s) (i32.const 64) (i32.const 0) (i32.const 0))", errno.EINVAL),
        ("(call $socket_receive (local.get $s) (i32.const 64) (i32.const 8) (i32.const 0))", errno.EAGAIN),
        ("(call $socket_send (local.get $s) (i32.const 0) (i32.const 65536) (i32.const 0))", errno.EMSGSIZE),
        ("(call $socket_send (i32.const 4097) (i32.const 0) (i32.const 1) (i32.const 0))",
         errno.EBADF),
        ("(call $socket_watch (i32.const 3) (i32.const 1))", errno.EBADF),
    ],
)  # fmt: skip
def test_wrong_calls_of_an_open_socket(udp: Server, call: str, wanted: int) -> None:
    assert guest(f"udp:127.0.0.1:{udp.port}", f"(call $exit {call})").status == wanted


@pytest.mark.parametrize(
    "call", [SEND.format(bytes=1, ms=0), RECEIVE.format(room=1, ms=0), "(call $socket_close (local.get $s))",
             "(call $socket_watch (local.get $s) (i32.const 1))"],
)  # fmt: skip
def test_use_after_close(udp: Server, call: str) -> None:
    watch = "(drop (call $socket_watch (local.get $s) (i32.const 1)))"
    end = guest(
        f"udp:127.0.0.1:{udp.port}", f"{watch} (drop (call $socket_close (local.get $s))) (call $exit {call})"
    )
    assert (end.status, end.handles) == (errno.EBADF, 0)


def test_sockets_are_few_and_closed_at_the_end(udp: Server) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    again = (
        f"(call $socket_connect (i32.const 128) (i32.const {len(f'udp:127.0.0.1:{udp.port}')}) (i32.const 0))"
    )
    body = f"""(loop (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if 0 (i32.gt_s {again} (i32.const 0))))
      (if (i32.ne {again} (i32.const {-errno.EMFILE})) (then (call $exit (i32.const -99))))
      (drop (call $socket_close (local.get $s)))
      (if (i32.lt_s {again} (i32.const 0)) (then (call $exit (i32.const -98))))
      (call $exit (i32.sub (i32.const 0) (local.get $n)))"""
    assert guest(f"udp:127.0.0.1:{udp.port}", body).status == 16
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_datagram_that_is_larger_than_the_buffer_stays(tmp_path: Path, udp: Server) -> None:
    body = f"""(drop {SEND.format(bytes=10, ms=0)})
      (if (i32.ne {RECEIVE.format(room=9, ms=5000)} (i32.const {-errno.EMSGSIZE}))
        (then (call $exit (i32.const -99))))
      (call $exit (i32.sub (i32.const 0) {RECEIVE.format(room=10, ms=5000)}))"""

    def echo() -> None:
        data, sender = udp.socket.recvfrom(100)
        udp.socket.sendto(data, sender)

    thread = threading.Thread(target=echo)
    thread.start()
    assert guest(f"udp:127.0.0.1:{udp.port}", body).status == 10
    thread.join(10)


# ---- time ----


def test_a_call_takes_no_longer_than_the_deadline(udp: Server) -> None:
    started = time.monotonic()
    end = guest(f"udp:127.0.0.1:{udp.port}", f"(call $exit {RECEIVE.format(room=9, ms=-1)})", deadline_ms=300)
    assert (end.cause, end.status) == (Cause.EXITED, errno.EAGAIN)
    assert 0.29 < time.monotonic() - started < 3


def test_sending_takes_no_longer_than_the_deadline(tcp: Server) -> None:
    """The server reads nothing: what fits into buffers is counted, then the time is over."""
    send = "(call $socket_send (local.get $s) (i32.const 0) (i32.const 65536) (i32.const -1))"
    body = f"(loop (br_if 0 (i32.gt_s (local.tee $n {send}) (i32.const 0)))) (call $exit (local.get $n))"
    started = time.monotonic()
    end = guest(f"tcp:127.0.0.1:{tcp.port}", body, deadline_ms=400)
    assert (end.cause, end.status) == (Cause.EXITED, errno.EAGAIN)
    assert 0.39 < time.monotonic() - started < 5


def test_connecting_takes_no_longer_than_its_time() -> None:
    """A queue that is full takes no more connections."""
    full = Server(socket.SOCK_STREAM, ("127.0.0.1", 0))
    full.socket.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", full.port))
    time.sleep(0.1)
    started = time.monotonic()
    assert guest(f"tcp:127.0.0.1:{full.port}", "", timeout_ms=300).status == errno.ETIMEDOUT
    assert 0.29 < time.monotonic() - started < 3
    for one in (*waiting, full.socket):
        one.close()


def test_an_endless_receive_ends_at_the_deadline(udp: Server) -> None:
    end = guest(
        f"udp:127.0.0.1:{udp.port}", f"(loop (drop {RECEIVE.format(room=9, ms=0)}) (br 0))", deadline_ms=200
    )
    assert end.cause is Cause.OVERTIME


@pytest.mark.parametrize("deadline_ms", [0, 60000])
def test_receiving_for_ever_can_be_stopped(udp: Server, deadline_ms: int) -> None:
    started = time.monotonic()
    body = f"(loop (drop {RECEIVE.format(room=9, ms=-1)}) (br 0))"
    end = guest(f"udp:127.0.0.1:{udp.port}", body, deadline_ms=deadline_ms, stop_after_s=0.2)
    assert end.cause is Cause.STOPPED and time.monotonic() - started < 2


def test_an_interrupt_ends_receiving_but_not_what_has_come(udp: Server) -> None:
    """After Ctrl-C a guest still gets what is there, and sends its totals."""
    body = f"""(drop {SEND.format(bytes=10, ms=0)})
      (if (i32.ne (local.tee $n {RECEIVE.format(room=9, ms=-1)}) (i32.const {-errno.EINTR}))
        (then (call $exit (local.get $n))))
      (call $exit (i32.sub (i32.const 0) {SEND.format(bytes=5, ms=1000)}))"""
    end = guest(f"udp:127.0.0.1:{udp.port}", body, interrupt_after_s=0.2)
    assert (end.cause, end.status) == (Cause.EXITED, 5)
    assert [udp.socket.recv(100) for _ in range(2)] == [b"waits:3|c\n", b"waits"]


# ---- waiting ----


def test_wait_tells_of_watched_sockets(tcp: Server) -> None:
    """Its handle while there is something, and not once it is no longer watched."""
    served = threading.Thread(target=lambda: tcp.socket.accept()[0].sendall(b"abc"))
    wait = "(call $wait (i32.const {ms}) (i32.const 3000) (i32.const 64))"
    body = f"""(if (i32.ne {wait.format(ms=50)} (i32.const 0)) (then (call $exit (i32.const -99))))
      (drop (call $socket_watch (local.get $s) (i32.const 1)))
      (if (i32.ne {wait.format(ms=5000)} (i32.const 1)) (then (call $exit (i32.const -98))))
      (if (i32.ne (i32.load (i32.const 3000)) (local.get $s)) (then (call $exit (i32.const -97))))
      (drop (call $socket_watch (local.get $s) (i32.const 0)))
      (if (i32.ne {wait.format(ms=50)} (i32.const 0)) (then (call $exit (i32.const -96))))
      (call $exit (i32.sub (i32.const 0) {RECEIVE.format(room=64, ms=0)}))"""
    served.start()
    assert guest(f"tcp:127.0.0.1:{tcp.port}", body).status == 3
    served.join(10)


def test_a_peer_that_resets_is_an_error_of_the_call(tcp: Server) -> None:
    def reset() -> None:
        connection, _ = tcp.socket.accept()
        connection.recv(4)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    thread = threading.Thread(target=reset)
    thread.start()
    send = SEND.format(bytes=4, ms=0)
    body = f"""(drop {send}) (if (i32.ne {RECEIVE.format(room=9, ms=5000)} (i32.const {-errno.ECONNRESET}))
      (then (call $exit (i32.const -99)))) (call $exit {send})"""
    assert guest(f"tcp:127.0.0.1:{tcp.port}", body).status == errno.EPIPE
    thread.join(10)
