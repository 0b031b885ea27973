"""Time as the coordinator sees it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Its clocks."""

    def mono_s(self) -> float: ...

    def unix_ns(self) -> int: ...
