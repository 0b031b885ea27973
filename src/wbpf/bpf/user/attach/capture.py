"""Packets in files: pcap and pcapng are read, pcap is written.

https://datatracker.ietf.org/doc/html/draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wbpf.errors import BpfError, FormatError

ETHERNET = 1  # LINKTYPE_ETHERNET
_MICRO, _NANO, _NEW = 0xA1B2C3D4, 0xA1B23C4D, 0x0A0D0D0A
_NEW_ORDER = 0x1A2B3C4D
_INTERFACE, _SIMPLE, _ENHANCED = 1, 3, 6
_TSRESOL, _TSOFFSET, _FLAGS = 9, 14, 2
_BYTES_MOST = 1 << 24  # of a record: more is not one


class CapturedPacket(NamedTuple):
    """A packet of a file.

    Args:
        whole_bytes: that it had; `data` may be less.
        outgoing: whether it left the host; None: the file does not say.
    """

    time_ns: int
    data: bytes
    whole_bytes: int
    outgoing: bool | None = None


@dataclass(slots=True)
class _Interface:
    link: int
    units_a_second: int = 1_000_000
    offset_s: int = 0


class Capture:
    """A file of packets, read once from the front.

    Raises:
        BpfError: it can't be read.
        FormatError: it is neither pcap nor pcapng, or not of Ethernet frames.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise BpfError(
                f"packets can't be read from {str(path)!r}", error.strerror or str(error)
            ) from error
        try:
            self._packets = self._open()
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[CapturedPacket]:
        return self._packets

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _wrong(self, why: str) -> FormatError:
        return FormatError(
            f"packets can't be read from {str(self.path)!r}", why, "pcap and pcapng can be read"
        )

    def _take(self, size: int) -> bytes:
        if size > _BYTES_MOST:
            raise self._wrong(f"a record of {size} bytes is none")
        data = self._file.read(size)
        if len(data) != size:
            raise self._wrong("it is cut short")
        return data

    def _open(self) -> Iterator[CapturedPacket]:
        magic = self._take(4)
        for order in "<>":
            (number,) = struct.unpack(f"{order}I", magic)
            if number in (_MICRO, _NANO):
                *_, link = struct.unpack(f"{order}HHiIII", self._take(20))
                self._demand_ethernet(link & 0x0FFFFFFF)
                return self._old(struct.Struct(f"{order}IIII"), 1 if number == _NANO else 1000)
        if magic == _NEW.to_bytes(4):
            return self._new()
        raise self._wrong("its first bytes are of another format")

    def _demand_ethernet(self, link: int) -> None:
        if link != ETHERNET:
            raise self._wrong(f"its frames are of link type {link}, not Ethernet's, {ETHERNET}")

    def _old(self, head: struct.Struct, unit_ns: int) -> Iterator[CapturedPacket]:
        read, unpack = self._file.read, head.unpack
        while fields := read(16):
            if len(fields) < 16:
                raise self._wrong("it is cut short")
            seconds, units, size, whole = unpack(fields)
            yield CapturedPacket(seconds * 1_000_000_000 + units * unit_ns, self._take(size), whole)

    def _new(self) -> Iterator[CapturedPacket]:
        order, interfaces = "<", list[_Interface]()
        kind_bytes = _NEW.to_bytes(4)
        while kind_bytes:
            if kind_bytes == _NEW.to_bytes(4):
                size_bytes, mark = self._take(4), self._take(4)
                order = "<" if struct.unpack("<I", mark)[0] == _NEW_ORDER else ">"
                (size,) = struct.unpack(f"{order}I", size_bytes)
                if struct.unpack(f"{order}I", mark)[0] != _NEW_ORDER or size < 28:
                    raise self._wrong("a section has no byte order")
                self._take(size - 12)
                interfaces = []
            else:
                (kind,) = struct.unpack(f"{order}I", kind_bytes)
                (size,) = struct.unpack(f"{order}I", self._take(4))
                if size < 12 or size % 4:
                    raise self._wrong(f"a block of {size} bytes is none")
                body = self._take(size - 8)[:-4]
                if packet := self._block(order, kind, body, interfaces):
                    yield packet
            kind_bytes = self._file.read(4)
            if 0 < len(kind_bytes) < 4:
                raise self._wrong("it is cut short")

    def _block(
        self, order: str, kind: int, body: bytes, interfaces: list[_Interface]
    ) -> CapturedPacket | None:
        if kind == _INTERFACE and len(body) >= 8:
            interfaces.append(self._interface(order, body))
        elif kind == _ENHANCED and len(body) >= 20:
            number, high, low, size, whole = struct.unpack_from(f"{order}IIIII", body)
            if number >= len(interfaces) or 20 + size > len(body):
                raise self._wrong("a packet's block is damaged")
            interface = interfaces[number]
            self._demand_ethernet(interface.link)
            flags = _options(order, body[20 + -(-size // 4) * 4 :]).get(_FLAGS, b"").ljust(4, b"\0")
            direction = struct.unpack(f"{order}I", flags[:4])[0] & 3
            time_ns = (high << 32 | low) * 10**9 // interface.units_a_second + interface.offset_s * 10**9
            return CapturedPacket(time_ns, body[20 : 20 + size], whole, {1: False, 2: True}.get(direction))
        elif kind == _SIMPLE and len(body) >= 4 and interfaces:
            self._demand_ethernet(interfaces[0].link)
            (whole,) = struct.unpack_from(f"{order}I", body)
            return CapturedPacket(0, body[4 : 4 + whole], whole)
        return None

    def _interface(self, order: str, body: bytes) -> _Interface:
        one = _Interface(struct.unpack_from(f"{order}H", body)[0])
        options = _options(order, body[8:])
        if units := options.get(_TSRESOL):
            one.units_a_second = 2 ** (units[0] & 0x7F) if units[0] & 0x80 else 10 ** min(units[0], 20)
        if len(offset := options.get(_TSOFFSET, b"")) == 8:
            (one.offset_s,) = struct.unpack(f"{order}q", offset)
        return one


def _options(order: str, data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        kind, size = struct.unpack_from(f"{order}HH", data, at)
        if not kind:
            break
        found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + -(-size // 4) * 4
    return found


class CaptureWriter:
    """Writes Ethernet frames to a pcap file, with nanoseconds. Raises BpfError: it can't be written."""

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("wb")
            self._file.write(struct.pack("<IHHiIII", _NANO, 2, 4, 0, 0, 1 << 18, ETHERNET))
        except OSError as error:
            raise BpfError(
                f"packets can't be written to {str(path)!r}", error.strerror or str(error)
            ) from error

    def write(self, packet: CapturedPacket) -> None:
        """Add one."""
        seconds, ns = divmod(packet.time_ns, 10**9)
        head = struct.pack("<IIII", seconds & 0xFFFFFFFF, ns, len(packet.data), packet.whole_bytes)
        self._file.write(head + packet.data)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._file.close()
