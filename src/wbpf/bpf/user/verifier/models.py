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
    PACKET_META = "where what goes before the packet begins"
    WIDE = "a number of 8 bytes"
    ABSENT = "what user space does not have"


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
        run_bytes: of memory that r1 points to at a run, if that is more than the program sees.
        family: of the helpers that only such programs have: xdp, socket or tc.
        kind: of the program; programs of other kinds are not called by bpf_tail_call.
        helpers: numbers of those that do for such programs what others do elsewhere, by the others' numbers.
    """

    bytes: int
    fields: Mapping[int, tuple[int, Field]] = field(default_factory=dict)
    writable: frozenset[int] | None = frozenset()
    memory: bool = False
    places: Mapping[int, int] = field(default_factory=dict)
    run_bytes: int = 0
    family: str = ""
    kind: int = 0
    helpers: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MapModel:
    """A map.

    Args:
        kind: of `enum bpf_map_type`.
        constant: its only value, if programs can't change it.
        inner: which of the maps those in this one are like, for maps of maps.
        lock: where its values have a bpf_spin_lock, which only its helpers use; -1: nowhere.
        read_only: programs may not change it (BPF_F_RDONLY_PROG).
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
    read_only: bool = False

    @property
    def is_writable(self) -> bool:
        """Whether programs may change it."""
        return not self.read_only and self.constant is None


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
    DYNPTR = "a dynptr"


class Returns(Enum):
    """What a helper gives back."""

    NUMBER = "a number"
    BYTES = "how many bytes of the memory were filled, or an error"
    VALUE_OR_NULL = "a value or 0"
    RECORD_OR_NULL = "a record or 0"
    MEMORY_OR_NULL = "memory or 0"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a helper is called.

    Args:
        moves_packet: addresses in the packet are no longer right behind it.
        families: of contexts that it is for; empty for all.
    """

    name: str
    args: tuple[Arg, ...] = ()
    returns: Returns = Returns.NUMBER
    moves_packet: bool = False
    families: tuple[str, ...] = ()
