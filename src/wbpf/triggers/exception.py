"""A trigger on exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wbpf.triggers.recent import RecentIds
from wbpf.triggers.trigger import Trigger


class OnException(Trigger[BaseException]):
    """Fires when an exception leaves a block.

    Args:
        kinds: which exceptions; all that derive from Exception by default, so neither cancelling nor Ctrl-C.
    """

    def __init__(
        self,
        *kinds: type[BaseException],
        name: str = "exception",
        laterals: RecentIds | None = None,
    ) -> None:
        super().__init__(name, laterals)
        self._kinds = kinds or (Exception,)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Observe an exception that leaves the block."""
        try:
            yield
        except BaseException as error:
            self.observe(error)
            raise

    def _judge(self, value: BaseException) -> float | None:
        return 1.0 if isinstance(value, self._kinds) else None
