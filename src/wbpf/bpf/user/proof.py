"""What the verifier found out about a program, for the translator."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ArrayLookup:
    """A lookup in an array whose place in memory is known, so that it needs no call.

    Args:
        slot: of the map.
        stride: bytes from one value to the next.
        per_cpu: there is a row of values for each processor.
    """

    slot: int
    stride: int
    per_cpu: bool = False


@dataclass(slots=True)
class Proof:
    """Facts about instructions, by their index. Without any, everything is checked while the program runs.

    Args:
        complete: every access and every loop is proved: no check is left.
        safe: loads, stores and atomic operations that need no check.
        bounded: jumps back that are taken a limited number of times.
        pointers: additions and subtractions of which an operand is an address: `dst` or `src`.
        lookups: calls of bpf_map_lookup_elem that need no call.
        helpers: numbers of those that are called in place of others, for the program's context.
        context_loads: loads of addresses from the context, and where those are in the memory behind it.
        zeroed: bytes of functions' frames that may be read before they are written, as bits by entry: as in
            the kernel since 6.3 that is allowed, but what was there before is nobody's to see.
    """

    complete: bool = False
    safe: set[int] = field(default_factory=set)
    bounded: set[int] = field(default_factory=set)
    pointers: dict[int, str] = field(default_factory=dict)
    lookups: dict[int, ArrayLookup] = field(default_factory=dict)
    helpers: dict[int, int] = field(default_factory=dict)
    context_loads: dict[int, int] = field(default_factory=dict)
    zeroed: dict[int, int] = field(default_factory=dict)
