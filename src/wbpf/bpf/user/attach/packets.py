"""XDP programs, socket filters and TC programs over packets: of files, TAP devices, AF_PACKET sockets."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from wbpf import _native
from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.user.attach.capture import Capture, CapturedPacket, CaptureWriter
from wbpf.bpf.user.attach.link import Detached
from wbpf.bpf.user.attach.traced import Traced
from wbpf.bpf.user.objects import UserObjectProgram
from wbpf.bpf.user.packets import NATIVE_KINDS, Target, target_of
from wbpf.errors import AccessError, BpfError, ConfigError, WbpfError

_VERDICTS = {
    ProgramType.XDP: ("aborted", "drop", "pass", "tx", "redirect"),
    ProgramType.SOCKET_FILTER: ("drop", "pass"),
    ProgramType.SCHED_CLS: (
        "unspec",
        "ok",
        "reclassify",
        "shot",
        "pipe",
        "stolen",
        "queued",
        "repeat",
        "redirect",
        "trap",
    ),
}
_BATCH = 512  # packets
_RECORD = struct.Struct("<QQIIiI")
_ENDS = 0xFFFFFFFF
_OUTGOING = 4  # PACKET_OUTGOING
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 2, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ALL = 3  # ETH_P_ALL
_SOL_PACKET, _AUXDATA, _IGNORE_OUTGOING, _STATISTICS = 263, 8, 23, 6
_SO_RCVBUFFORCE, _BUFFER_BYTES = 33, 1 << 23
_TAP, _SOCKET, _SENT = range(3)  # enum wbpf_packet_source
_EXAMPLES = "pcap:IN[,OUT], tap:NAME or packet:IFNAME"


class PacketLink:
    """A program that packets go through, in a thread of its own, until there are no more or it is detached.

    Args:
        program: loaded.
        work: gives the packets to the flow; returns early once the second argument can be read.
        close: what it used; returns how many packets were missed.
    """

    def __init__(
        self,
        program: UserObjectProgram,
        work: Callable[[_native.PacketFlow, int], None],
        close: Callable[[], int],
    ) -> None:
        self._flow = _native.PacketFlow(program.program.native, NATIVE_KINDS[ProgramType(program.kind)])
        self._names = _VERDICTS[ProgramType(program.kind)]
        self._program, self._work, self._close = program.program, work, close
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._failure: WbpfError | OSError | None = None
        self._missed = 0
        self._thread = threading.Thread(target=self._run, name=f"wbpf {program.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self._flow, self._stop)
        except (WbpfError, OSError) as error:
            self._failure = error

    @property
    def packets(self) -> int:
        """That the program has seen."""
        return self._flow.counts()[0][0]

    @property
    def verdicts(self) -> dict[str, int]:
        """How often it returned what; `invalid`: none of its kind, `stopped`: a check ended it."""
        (_, _, invalid, stopped, unsent, _), verdicts, _ = self._flow.counts()
        named = dict(zip(self._names, verdicts, strict=False))
        named.update(invalid=invalid, stopped=stopped, unsent=unsent)
        return {name: count for name, count in named.items() if count}

    @property
    def targets(self) -> dict[Target, int]:
        """Where it redirected how many packets to; those beyond the 64th target are only in `verdicts`."""
        found = {}
        for *facts, count in self._flow.counts()[2]:
            if target := target_of(*facts):
                found[target] = count
        return found

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all packets of a file have been through; False: time is up.

        Raises:
            BpfError: the device is gone, or the file can't be read or written any further.
            FormatError: the file is damaged.
        """
        self._thread.join(timeout_s)
        if self._failure is not None:
            raise self._failure
        return not self._thread.is_alive()

    def detach(self) -> Detached:
        """When it returns, the program runs no more. Again does nothing."""
        if self._stop >= 0:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            self._missed = self._close()
            os.close(self._stop)
            self._stop = -1
        return Detached(self._flow.counts()[0][3], self._missed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> PacketLink:
    """Give a program the packets of a file, of a TAP device or of an interface.

    Args:
        program: loaded.
        target: `pcap:IN[,OUT]`, `tap:NAME`, `packet:IFNAME`; for TC programs with `:ingress` or `:egress`.
        cookie: no helper of these programs tells it.
        traced: processes have nothing to do with it.

    Raises:
        ConfigError: the target is none of these.
        AccessError: a right is missing.
        BpfError: there is no such file or interface.
    """
    kind, place, direction = source_of(program.name, program.kind, target)
    if kind == "pcap":
        return _of_file(program, place, direction)
    if kind == "tap":
        return _of_tap(program, place)
    return _of_interface(program, place, direction)


def source_of(name: str, program_kind: int, target: str | None) -> tuple[str, str, str | None]:
    """What gives a program its packets: pcap, tap or packet, which of them, and the direction of TC programs.

    Raises:
        ConfigError: the target does not say.
    """
    kind, _, place = (target or "").partition(":")
    direction, wanted = None, _EXAMPLES
    if program_kind == ProgramType.SCHED_CLS:
        place, _, direction = place.rpartition(":")
        wanted += ", with :ingress or :egress behind it"
    if kind in ("pcap", "tap", "packet") and place and direction in (None, "ingress", "egress"):
        return kind, place, direction
    why = "in user space it gets packets of files, TAP devices and interfaces"
    raise ConfigError(f"program {name!r} can't be attached to {target!r}", why, f"name {wanted}")


def validate_source(name: str, program_kind: int, target: str) -> None:
    """Raise what attaching would, as far as can be told without making anything. Raises: as `attach`."""
    kind, place, _ = source_of(name, program_kind, target)
    what = f"program {name!r} can't be attached to {target!r}"
    if kind == "pcap":
        path, _, out = place.partition(",")
        Capture(Path(path)).close()
        if out and not os.access(out if Path(out).exists() else Path(out).parent, os.W_OK):
            raise BpfError(what, f"{out} can't be written")
    elif kind == "tap":
        os.close(_open_tap(what, place))
    else:
        _open_interface(what, place).close()


# ---- files ----


def _of_file(program: UserObjectProgram, place: str, direction: str | None) -> PacketLink:
    path, _, out = place.partition(",")
    capture = Capture(Path(path))
    try:
        writer = CaptureWriter(Path(out)) if out else None
    except WbpfError:
        capture.close()
        raise

    def work(flow: _native.PacketFlow, stop: int) -> None:
        wanted = (
            one for one in capture if direction is None or bool(one.outgoing) == (direction == "egress")
        )
        while (batch := list(islice(wanted, _BATCH))) and not _is_set(stop):
            answers, data = _feed(flow, batch, direction)
            if writer is not None:
                for packet in _kept(batch, answers, data):
                    writer.write(packet)

    def close() -> int:
        capture.close()
        if writer is not None:
            writer.close()
        return 0

    return PacketLink(program, work, close)


def _is_set(event: int) -> bool:
    return bool(select.select([event], [], [], 0)[0])


def _feed(
    flow: _native.PacketFlow, batch: list[CapturedPacket], direction: str | None
) -> tuple[bytes, bytes]:
    """Run the program over packets; the records with its answers, and what goes on."""
    records = bytearray()
    at = 0
    for packet in batch:
        outgoing = direction == "egress" or bool(packet.outgoing)
        records += _RECORD.pack(at, packet.time_ns, len(packet.data), _OUTGOING if outgoing else 0, 0, 0)
        at += len(packet.data)
    return flow.feed(b"".join(packet.data for packet in batch), bytes(records))


def _kept(batch: list[CapturedPacket], answers: bytes, data: bytes) -> Iterator[CapturedPacket]:
    """The packets that go on, as the program left them."""
    at = 0
    for packet, (_, _, size, _, _, left) in zip(batch, _RECORD.iter_unpack(answers), strict=True):
        if left != _ENDS:
            whole = packet.whole_bytes if left <= size else packet.whole_bytes + left - size
            yield CapturedPacket(packet.time_ns, data[at : at + left], max(whole, left), packet.outgoing)
            at += left


# ---- devices ----


def _of_tap(program: UserObjectProgram, name: str) -> PacketLink:
    what = f"program {program.name!r} can't be attached to TAP device {name!r}"
    fd = _open_tap(what, name)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("<16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
            given = fcntl.ioctl(handle, _SIOCGIFFLAGS, struct.pack("<16sH22x", name.encode(), 0))
            (flags,) = struct.unpack_from("<H", given, 16)
            fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("<16sH22x", name.encode(), flags | _IFF_UP))
    except OSError as error:
        os.close(fd)
        raise _refused(what, error) from error

    def close() -> int:
        os.close(fd)
        return 0

    return PacketLink(program, _pump(what, fd, _TAP), close)


def _open_tap(what: str, name: str) -> int:
    """What a TAP device is made or taken with."""
    if len(name.encode()) > 15:
        raise ConfigError(what, "an interface's name has at most 15 bytes")
    try:
        return os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _refused(what, error) from error


def _of_interface(program: UserObjectProgram, name: str, direction: str | None) -> PacketLink:
    what = f"program {program.name!r} can't be attached to interface {name!r}"
    packets = _open_interface(what, name, arriving=program.kind == ProgramType.XDP or direction == "ingress")

    def close() -> int:
        _, drops = struct.unpack("<II", packets.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        packets.close()
        return int(drops)

    source = _SENT if direction == "egress" else _SOCKET
    return PacketLink(program, _pump(what, packets.fileno(), source), close)


def _open_interface(what: str, name: str, *, arriving: bool = False) -> socket.socket:
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except OSError as error:
        raise _refused(what, error) from error
    try:
        packets.setsockopt(_SOL_PACKET, _AUXDATA, 1)
        if arriving:
            packets.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        with contextlib.suppress(PermissionError):  # in a user namespace
            packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        packets.bind((name, _ALL))
    except OSError as error:
        packets.close()
        raise _refused(what, error) from error
    return packets


def _pump(what: str, fd: int, source: int) -> Callable[[_native.PacketFlow, int], None]:
    def work(flow: _native.PacketFlow, stop: int) -> None:
        if error := flow.pump(fd, stop, source):
            raise BpfError(what.replace("can't be attached", "gets no more packets"), os.strerror(-error))

    return work


def _refused(what: str, error: OSError) -> WbpfError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return AccessError(what, error.strerror or str(error), "it needs CAP_NET_ADMIN and CAP_NET_RAW")
    return BpfError(what, error.strerror or str(error))
