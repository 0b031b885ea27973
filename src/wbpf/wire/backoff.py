"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from `first_s` to `ceiling_s`, with jitter: peers shall not come back all at once.

    Args:
        first_s: the first wait, in seconds.
        ceiling_s: the longest.
    """

    def __init__(self, first_s: float = 0.05, ceiling_s: float = 2.0) -> None:
        self.first_s = first_s
        self.ceiling_s = ceiling_s
        self._next_s = first_s
        self.tries = 0

    def next_s(self) -> float:
        """Seconds to wait now."""
        wait_s = self._next_s
        self.tries += 1
        self._next_s = min(wait_s * 2, self.ceiling_s)
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: start from the first wait again."""
        self._next_s = self.first_s
        self.tries = 0
