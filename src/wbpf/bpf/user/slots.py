"""What a translated program finds where in its environment: native/user/env.h says the same in C."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Env(IntEnum):
    """Offsets in `struct wbpf_env`."""

    FUEL = 0
    FRAME = 8
    STACK_LOW = 16
    STACK_BYTES = 24
    CONTEXT = 32
    CONTEXT_BYTES = 40
    CHECK = 48
    STOP = 56
    HELPERS = 64
    MAPS = 72
    VALUES = 80
    ENTRIES = 88
    CPU = 96


class Stop(IntEnum):
    """Why a program was stopped: `enum wbpf_stop`."""

    FUEL = 1
    MEMORY = 2
    CALL = 3
    DEPTH = 4


#: Helpers that programs don't call by these numbers: the translator does.
LOAD_PACKET, NESTED_TAIL_CALL = -1, -2
TAIL_CALL = 12


@dataclass(slots=True)
class Slots:
    """Numbers of the helpers and maps that a program uses: indexes into the environment's tables.

    Args:
        maps: names, in the order of their slots.
        helpers: numbers of `enum bpf_func_id`, in the order of their slots.
    """

    maps: list[str] = field(default_factory=list)
    helpers: list[int] = field(default_factory=list)

    def helper(self, number: int) -> int:
        """The slot of a helper."""
        if number not in self.helpers:
            self.helpers.append(number)
        return self.helpers.index(number)
