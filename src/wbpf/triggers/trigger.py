"""What all triggers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from threading import Lock
from typing import Generic, TypeVar

from wbpf import recorder
from wbpf.triggers.recent import RecentIds, TraceId

V_contra = TypeVar("V_contra", contravariant=True)


class Trigger(ABC, Generic[V_contra]):
    """A rule over values that are observed one after another.

    Args:
        name: under which it fires, and which its queue and rate limit have.
        laterals: other traces to gather with the one that it fires for.
    """

    def __init__(self, name: str, laterals: RecentIds | None = None) -> None:
        self.name = name
        self.observed = 0
        self.fired = 0
        self._laterals = laterals
        self._lock = Lock()

    def observe(self, value: V_contra, trace_id: TraceId | None = None) -> bool:
        """Judge a value, and fire if it is a symptom.

        Args:
            value: what the rule is about.
            trace_id: of the trace that it belongs to; None for the current one.

        Returns:
            Whether it fired.
        """
        with self._lock:
            self.observed += 1
            measured = self._judge(value)
            if measured is None:
                return False
            self.fired += 1
        recorder.trigger(self.name, measured, self._laterals or (), trace_id)
        return True

    @abstractmethod
    def watch(self) -> AbstractContextManager[None]:
        """A block whose running is what is observed; also what `wbpf.trace(..., triggers=[...])` uses."""

    @abstractmethod
    def _judge(self, value: V_contra) -> float | None:
        """What to report if the value is a symptom, else None. Called by one thread at a time."""
