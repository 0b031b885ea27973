"""Where programs for packets find them: native/user/packets.h says the same in C."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass

from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.user.verifier import Context, Field
from wbpf.errors import BpfError

ETHERNET_BYTES = 14
LOOPBACK = 1  # where packets of BPF_PROG_TEST_RUN come from
#: Kinds of programs, as `enum wbpf_packet_kind` has them.
NATIVE_KINDS = {ProgramType.XDP: 1, ProgramType.SOCKET_FILTER: 2, ProgramType.SCHED_CLS: 3}
_VISIBLE = 192
_DATA, _DATA_END, _DATA_META = 192, 200, 208
_PLACES = struct.Struct("<7QIIQQ")
_BYTES = _VISIBLE + _PLACES.size
_LEN, _PKT_TYPE, _MARK, _PROTOCOL, _PRIORITY, _IFINDEX, _CB, _TSTAMP, _WIRE = (
    0,
    4,
    8,
    16,
    32,
    40,
    48,
    152,
    160,
)
#: What the caller of a test run may give of a socket buffer, and gets back: offset -> bytes.
_GIVEN = {_MARK: 4, _PRIORITY: 4, _IFINDEX: 4, _CB: 20, _TSTAMP: 8, _WIRE: 4}
_XDP_HEADROOM, _XDP_OWN, _XDP_FRAME, _XDP_TAIL = 256, 40, 4096, 320  # xdp_frame, a page, skb_shared_info
_SKB_ROOM = 16384  # more than BPF_SKB_MAX_LEN
_LOADS, _REDIRECT, _EVENTS = -1, 23, 25
_SKB_FIELDS = {
    88: (56, Field.ABSENT),  # addresses and ports of the socket, flow_keys
    168: (8, Field.ABSENT),  # sk
    180: (12, Field.ABSENT),  # tstamp_type, hwtstamp
}
_CB_BYTES = frozenset(range(48, 68))

XDP = Context(
    24,
    {
        0: (4, Field.PACKET),
        4: (4, Field.PACKET_END),
        8: (4, Field.PACKET_META),
        20: (4, Field.ABSENT),  # egress_ifindex
    },
    places={0: _DATA, 4: _DATA_END, 8: _DATA_META},
    run_bytes=_BYTES,
    family="xdp",
    kind=ProgramType.XDP,
    helpers={_EVENTS: -25},
)
SOCKET = Context(
    _VISIBLE,
    {
        **_SKB_FIELDS,
        72: (12, Field.ABSENT),  # tc_classid, data, data_end
        140: (24, Field.ABSENT),  # data_meta, flow_keys, tstamp, wire_len
    },
    writable=_CB_BYTES,
    places={76: _DATA},
    run_bytes=_BYTES,
    family="socket",
    kind=ProgramType.SOCKET_FILTER,
    helpers={_LOADS: -3, _EVENTS: -25},
)
TC = Context(
    _VISIBLE,
    {
        **_SKB_FIELDS,
        76: (4, Field.PACKET),
        80: (4, Field.PACKET_END),
        140: (4, Field.PACKET_META),
        144: (8, Field.ABSENT),  # flow_keys
        152: (8, Field.WIDE),  # tstamp
    },
    # mark, queue_mapping, priority, tc_index, cb, tc_classid, tstamp
    writable=_CB_BYTES.union(*(range(at, at + 4) for at in (8, 12, 32, 44, 72, 152, 156))),
    places={76: _DATA, 80: _DATA_END, 140: _DATA_META},
    run_bytes=_BYTES,
    family="tc",
    kind=ProgramType.SCHED_CLS,
    helpers={_LOADS: -3, _REDIRECT: -23, _EVENTS: -25},
)
CONTEXTS = {ProgramType.XDP: XDP, ProgramType.SOCKET_FILTER: SOCKET, ProgramType.SCHED_CLS: TC}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a program wants its packet to go.

    Args:
        map_kind: of the map that it names, of `enum bpf_map_type`; None: it names a device.
        map_id: `UserMap.user_id` of that map, or 0.
        index: the device's number, or the key in the map; None: to all that are in it.
        value: what the map has there: the number of a device, the length of a processor's queue.
    """

    map_kind: int | None
    map_id: int
    index: int | None
    value: int


class PacketRun:
    """A packet on its way through one run of a program, as BPF_PROG_TEST_RUN prepares it.

    Args:
        kind: of the program.
        data: the packet, from its Ethernet header on.
        given: the beginning of what the program sees of it, as far as the kernel's test run takes it.

    Raises:
        BpfError: it has no whole Ethernet header.
    """

    def __init__(self, kind: int, data: bytes, given: bytes = b"") -> None:
        if len(data) < ETHERNET_BYTES:
            raise BpfError(
                "the program can't be run", f"{len(data)} bytes are no packet: an Ethernet header has 14"
            )
        self.kind, self._given = kind, given
        head = _XDP_HEADROOM if kind == ProgramType.XDP else _SKB_ROOM
        tail = _XDP_FRAME if kind == ProgramType.XDP else _SKB_ROOM
        self._room = ctypes.create_string_buffer(head + len(data) + tail)
        start = ctypes.addressof(self._room) + head
        ctypes.memmove(start, data, len(data))
        end = start + len(data)
        visible = bytearray(_VISIBLE)
        if kind == ProgramType.XDP:
            low, high = start - head + _XDP_OWN, max(start - head + _XDP_FRAME - _XDP_TAIL, end)
            struct.pack_into("<I", visible, 12, LOOPBACK)
            visible[12:20] = given[12:20].ljust(8, b"\0") if any(given[12:20]) else visible[12:20]
        else:
            low, high = start - head, end + tail
            self._show(visible, data)
        first = start + ETHERNET_BYTES if kind == ProgramType.SOCKET_FILTER else start
        places = _PLACES.pack(first, end, first, low, high, start, start + ETHERNET_BYTES, 0, 0, 0, 0)
        #: what r1 points to
        self.memory = visible + bytearray(places)

    def _show(self, visible: bytearray, data: bytes) -> None:
        size = len(data) - (ETHERNET_BYTES if self.kind == ProgramType.SOCKET_FILTER else 0)
        struct.pack_into("<I", visible, _LEN, size)
        struct.pack_into("<I", visible, _PKT_TYPE, packet_type(data))
        visible[_PROTOCOL : _PROTOCOL + 2] = protocol(data)
        struct.pack_into("<I", visible, _IFINDEX, LOOPBACK)
        if self._given:
            struct.pack_into("<I", visible, _WIRE, size)
        for at, size in _GIVEN.items():
            if any(self._given[at : at + size]):
                visible[at : at + size] = self._given[at : at + size].ljust(size, b"\0")

    @property
    def data(self) -> bytes:
        """The packet as the program left it, as the kernel's test run has it.

        Of XDP with what goes before the packet, of a socket filter with 0 for its Ethernet header.
        """
        data, end, meta = struct.unpack_from("<QQQ", self.memory, _DATA)
        begin = meta if self.kind == ProgramType.XDP else data
        data = ctypes.string_at(begin, end - begin)
        return bytes(ETHERNET_BYTES) + data if self.kind == ProgramType.SOCKET_FILTER else data

    @property
    def context(self) -> bytes:
        """What was given of a socket buffer, as the program left it."""
        out = bytearray(self._given)
        if self.kind != ProgramType.XDP:
            for at, size in _GIVEN.items():
                out[at : at + size] = self.memory[at : at + size][: max(len(out) - at, 0)]
        return bytes(out)

    @property
    def target(self) -> Target | None:
        """Where the program sent it, if it did."""
        return target_of(*struct.unpack_from("<IIQQ", self.memory, _VISIBLE + 56))


def target_of(kind: int, map_id: int, index: int, value: int) -> Target | None:
    """The last members of `struct wbpf_packet`."""
    if not kind:
        return None
    return Target(
        None if kind == 0xFFFFFFFF else kind, map_id, None if index == (1 << 64) - 1 else index, value
    )


def protocol(data: bytes) -> bytes:
    """The protocol of an Ethernet frame, as eth_type_trans() has it."""
    kind = data[12:14]
    if int.from_bytes(kind) >= 0x600:
        return kind
    return b"\0\1" if data[14:16] == b"\xff\xff" else b"\0\4"


def packet_type(data: bytes) -> int:
    """For whom the loopback device, whose addresses are 0, takes a frame to be: PACKET_HOST and so on."""
    to = data[:6]
    return 0 if not any(to) else 2 if to[0] & 1 else 3
