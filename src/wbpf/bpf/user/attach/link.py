"""What all attached programs of user space have in common."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Detached:
    """What a link says when it ends.

    Args:
        stopped: runs that a check ended.
        missed: in that process until now: events met while a program ran in the same thread; of timers, ticks
            that came while the program ran; of packets, those that a socket had no room for.
    """

    stopped: int = 0
    missed: int = 0


class UserLink(Protocol):
    """An attached program: until `detach`, until its object is closed, or until this process ends."""

    def detach(self) -> Detached:
        """When it returns, the program runs no more. Again does nothing.

        Raises:
            BpfError: the process that it ran in is gone; the maps have what it counted.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
