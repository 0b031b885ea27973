"""Programs run in this process, on interfaces and cgroups of a test's own."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from wbpf.bpf.user.attach import Traced
from wbpf.wasm import Module
from wbpf.wasm.filters import Filter
from wbpf.wasm.grants import Grants

HERE = Path(__file__).parent
Fields = dict[str, Any]
_CLONE_NEWNET = 0x40000000
_IP4, _IP6, _ARP = 0x0800, 0x86DD, 0x0806


class Running:
    """A program that traces in a `with` block; behind it, `events` are all that it emitted."""

    def __init__(
        self,
        module: Path,
        filter: Filter | None = None,
        backend: str = "kernel",
        *,
        traced: Traced | None = None,
        **params: Any,
    ) -> None:
        self._backend = backend
        self.events: list[Fields] = []
        self._attached = threading.Event()
        self._guest = Module.open(module).start(
            params={name.replace("_", "-"): value for name, value in params.items()},
            grants=Grants.all(),
            filter=filter,
            backend=backend,
            traced=traced,
            on_event=lambda event: self.events.append(event.fields),
            on_log=lambda _, text: self._attached.set() if text == "attached" else None,
        )

    def __enter__(self) -> Self:
        end = time.monotonic() + 30
        while not self._attached.wait(0.02):
            if self._guest.has_ended or time.monotonic() > end:
                self._guest.close()
                pytest.fail("the program does not attach")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._backend == "user":  # packets come through a socket's buffer
            time.sleep(0.3)
        try:
            result = self._guest.wait(0)
        finally:
            self._guest.close()
        assert result.exit_status == 0


@contextmanager
def own_network(*, ip6: bool = False) -> Iterator[None]:
    """A network namespace for this thread; without IPv6, interfaces send nothing by themselves."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(_CLONE_NEWNET):
            pytest.skip(f"needs CAP_SYS_ADMIN: {os.strerror(ctypes.get_errno())}")
        for kind in () if ip6 else ("all", "default"):
            subprocess.run(["sysctl", "-qw", f"net.ipv6.conf.{kind}.disable_ipv6=1"], check=True)
        yield
    finally:
        assert libc.setns(outside, _CLONE_NEWNET) == 0
        os.close(outside)


def ip(*commands: str) -> None:
    """Run the command `ip`, once for each text."""
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def interface_counts(text: str, interface: str) -> dict[str, int]:
    """What /proc/net/dev says of an interface."""
    line = next(line for line in text.splitlines() if line.strip().startswith(f"{interface}:"))
    numbers = [int(word) for word in line.partition(":")[2].split()]
    return {
        "packets_in": numbers[1],
        "bytes_in": numbers[0],
        "packets_out": numbers[9],
        "bytes_out": numbers[8],
    }


def net_dev() -> str:
    """/proc/net/dev of this thread's network namespace."""
    return Path("/proc/thread-self/net/dev").read_text()


class Peer:
    """The process at the other end of the cable, `echo.py`, in a network namespace of its own."""

    def __init__(self, interface: str) -> None:
        command = ["unshare", "-n", sys.executable, str(HERE / "echo.py"), interface]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == "there"
        ip(f"link set {interface} netns {self._process.pid}")
        self._say("serve")

    def _say(self, line: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate()


def send_frames(interface: str, *frames: bytes) -> None:
    """Put frames on a cable."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for frame in frames:
            sender.send(frame)


def frame(protocol: int, *, ports: tuple[int, int] = (0, 0), content: int = 20, version: int = 4) -> bytes:
    """A frame of Ethernet and IP, to everybody.

    Args:
        protocol: which IP carries; 0: the frame is ARP's.
        ports: from and to, for TCP and UDP.
        content: bytes behind the headers of IP.
        version: of IP.
    """
    inner = struct.pack("!HH", *ports).ljust(content, b"\0")
    if protocol == 0:
        return _ethernet(_ARP, inner)
    if version == 6:
        head = struct.pack("!IHBB", 6 << 28, content, protocol, 64)
        addresses = [socket.inet_pton(socket.AF_INET6, text) for text in ("fd00::1", "fd00::2")]
        return _ethernet(_IP6, head + b"".join(addresses) + inner)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + content, 0, 0, 64, protocol, 0)
    return _ethernet(_IP4, head + socket.inet_aton("10.7.0.1") + socket.inet_aton("10.7.0.2") + inner)


def _ethernet(kind: int, inner: bytes) -> bytes:
    return b"\xff" * 6 + b"\x02\0\0\0\0\1" + struct.pack("!H", kind) + inner
