"""How much a guest may use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one run; what a module asks for in its manifest stands where nothing is given.

    Args:
        memory_mib: of linear memory, with the windows in it; None: what the manifest says, else 256.
        deadline_ms: of computing without waiting for anything; 0: none; None: what the manifest says, else
            10,000.
        fuel: instructions, about; None: not counted. Counting costs up to a third.
    """

    memory_mib: int | None = None
    deadline_ms: int | None = None
    fuel: int | None = None


DEFAULT_MEMORY_MIB, DEFAULT_DEADLINE_MS = 256, 10_000
