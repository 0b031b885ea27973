"""What the verifier is told of a program's surroundings: its context, its maps and the helpers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Field(Enum):
    """What a load from the context gives."""

    NUMBER = "a number"
    PACKET = "where the packet begins"
    PACKET_END = "where the packet ends"


@dataclass(frozen=True, slots=True)
class Context:
    """What r1 points to when a program begins.

    Args:
        bytes: of it.
        fields: offset -> (bytes, what it is), of what is more than numbers; other aligned loads are right.
        writable: offsets that may be stored to, None for all.
        memory: it is plain memory, read and written at any place.
        places: field -> where its address is in the memory behind the context: the kernel's contexts have
            only 4 bytes for it, and so the load is another there.
    """

    bytes: int
    fields: Mapping[int, tuple[int, Field]] = field(default_factory=dict)
    writable: frozenset[int] | None = frozenset()
    memory: bool = False
    places: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MapModel:
    """A map.

    Args:
        kind: of `enum bpf_map_type`.
        constant: its only value, if programs can't change it.
        inner: which of the maps those in this one are like, for maps of maps.
        lock: where its values have a bpf_spin_lock, which only its helpers use; -1: nowhere.
        inline: its values lie in one row, so many bytes apart, so that lookups need no call; 0: not so.
    """

    name: str
    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    constant: bytes | None = None
    inline: int = 0
    inner: int = -1
    lock: int = -1


class Arg(Enum):
    """What a helper takes."""

    ANY = "anything"
    NUMBER = "a number"
    CONTEXT = "the context"
    MAP = "a map"
    KEY = "a key of the map"
    VALUE_IN = "a value for the map"
    VALUE_OUT = "room for a value of the map"
    MEMORY_IN = "memory to read"
    MEMORY_OUT = "memory to write"
    SIZE = "the size of that memory, above 0"
    SIZE_OR_0 = "the size of that memory"
    CONSTANT = "a size that is known"
    RECORD = "a reserved record"
    FUNCTION = "a function"
    TEXT = "a constant text"
    LOCK = "the lock in a value"


class Returns(Enum):
    """What a helper gives back."""

    NUMBER = "a number"
    VALUE_OR_NULL = "a value or 0"
    RECORD_OR_NULL = "a record or 0"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a helper is called.

    Args:
        moves_packet: addresses in the packet are no longer right behind it.
    """

    name: str
    args: tuple[Arg, ...] = ()
    returns: Returns = Returns.NUMBER
    moves_packet: bool = False


_A = Arg
_READ = (_A.MEMORY_OUT, _A.SIZE_OR_0, _A.ANY)
_TEXT_TO_NUMBER = (_A.MEMORY_IN, _A.SIZE, _A.NUMBER, _A.MEMORY_OUT)

#: By number of `enum bpf_func_id` (linux/bpf.h).
SIGNATURES: Mapping[int, Signature] = {
    1: Signature("map_lookup_elem", (_A.MAP, _A.KEY), Returns.VALUE_OR_NULL),
    2: Signature("map_update_elem", (_A.MAP, _A.KEY, _A.VALUE_IN, _A.NUMBER)),
    3: Signature("map_delete_elem", (_A.MAP, _A.KEY)),
    4: Signature("probe_read", _READ),
    5: Signature("ktime_get_ns"),
    6: Signature("trace_printk", (_A.MEMORY_IN, _A.SIZE, _A.ANY, _A.ANY, _A.ANY)),
    7: Signature("get_prandom_u32"),
    8: Signature("get_smp_processor_id"),
    12: Signature("tail_call", (_A.CONTEXT, _A.MAP, _A.NUMBER)),
    14: Signature("get_current_pid_tgid"),
    15: Signature("get_current_uid_gid"),
    16: Signature("get_current_comm", (_A.MEMORY_OUT, _A.SIZE)),
    25: Signature("perf_event_output", (_A.CONTEXT, _A.MAP, _A.NUMBER, _A.MEMORY_IN, _A.SIZE_OR_0)),
    27: Signature("get_stackid", (_A.CONTEXT, _A.MAP, _A.NUMBER)),
    44: Signature("xdp_adjust_head", (_A.CONTEXT, _A.NUMBER), moves_packet=True),
    45: Signature("probe_read_str", _READ),
    51: Signature("redirect_map", (_A.MAP, _A.NUMBER, _A.NUMBER)),
    54: Signature("xdp_adjust_meta", (_A.CONTEXT, _A.NUMBER), moves_packet=True),
    65: Signature("xdp_adjust_tail", (_A.CONTEXT, _A.NUMBER), moves_packet=True),
    67: Signature("get_stack", (_A.CONTEXT, _A.MEMORY_OUT, _A.SIZE_OR_0, _A.NUMBER)),
    80: Signature("get_current_cgroup_id"),
    87: Signature("map_push_elem", (_A.MAP, _A.VALUE_IN, _A.NUMBER)),
    88: Signature("map_pop_elem", (_A.MAP, _A.VALUE_OUT)),
    89: Signature("map_peek_elem", (_A.MAP, _A.VALUE_OUT)),
    93: Signature("spin_lock", (_A.LOCK,)),
    94: Signature("spin_unlock", (_A.LOCK,)),
    112: Signature("probe_read_user", _READ),
    113: Signature("probe_read_kernel", _READ),
    114: Signature("probe_read_user_str", _READ),
    115: Signature("probe_read_kernel_str", _READ),
    125: Signature("ktime_get_boot_ns"),
    130: Signature("ringbuf_output", (_A.MAP, _A.MEMORY_IN, _A.SIZE_OR_0, _A.NUMBER)),
    131: Signature("ringbuf_reserve", (_A.MAP, _A.CONSTANT, _A.NUMBER), Returns.RECORD_OR_NULL),
    132: Signature("ringbuf_submit", (_A.RECORD, _A.NUMBER)),
    133: Signature("ringbuf_discard", (_A.RECORD, _A.NUMBER)),
    134: Signature("ringbuf_query", (_A.MAP, _A.NUMBER)),
    160: Signature("ktime_get_coarse_ns"),
    164: Signature("for_each_map_elem", (_A.MAP, _A.FUNCTION, _A.ANY, _A.NUMBER)),
    174: Signature("get_attach_cookie", (_A.CONTEXT,)),
    181: Signature("loop", (_A.NUMBER, _A.FUNCTION, _A.ANY, _A.NUMBER)),
    182: Signature("strncmp", (_A.MEMORY_IN, _A.SIZE, _A.TEXT)),
    195: Signature("map_lookup_percpu_elem", (_A.MAP, _A.KEY, _A.NUMBER), Returns.VALUE_OR_NULL),
    208: Signature("ktime_get_tai_ns"),
}
