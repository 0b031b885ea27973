"""Processes that programs are attached to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Traced:
    """A process with the runtime in it."""

    pid: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """One that runs already."""
        return cls(pid)
