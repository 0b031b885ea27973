"""Which conclusion of a trace is kept when there are several."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple, Protocol

from wbpf.errors import StoreError
from wbpf.records import Conclusion, Status, Trace

REMEMBERED = 65_536


class Earlier(NamedTuple):
    """What matters of the conclusion that the store has."""

    trigger: tuple[str, float, str, int]
    status: Status
    records: int


class Traces(Protocol):
    """Where traces are looked up: a store."""

    def trace(self, trace_id: bytes, /) -> Trace: ...


class Verdicts:
    """Keeps a trace from getting worse by being gathered again.

    A coordinator that forgot, or a trigger that fires much later, gathers a trace a second time; what has
    been recycled meanwhile is missing then, but the store still has it. So a conclusion that knows of no more
    records than an earlier one does not replace a better one; and one that does not know why the trace was
    gathered (its trigger has no name) leaves the earlier one's trigger.
    """

    def __init__(self, store: Traces) -> None:
        self._store = store
        self._earlier: OrderedDict[bytes, Earlier] = OrderedDict()

    def choose(self, conclusion: Conclusion) -> Conclusion | None:
        """The conclusion to be stored; None: the earlier one stays."""
        records = sum(part.records for part in conclusion.hosts)
        earlier = self._earlier.get(conclusion.trace_id)
        if earlier is None and (conclusion.status is not Status.COMPLETE or not conclusion.trigger_name):
            earlier = self._look_up(conclusion.trace_id)
        if earlier is not None:
            if not conclusion.trigger_name and earlier.trigger[0]:
                name, value, host, fired_unix_ns = earlier.trigger
                conclusion = replace(
                    conclusion,
                    trigger_name=name,
                    trigger_value=value,
                    trigger_host=host,
                    fired_unix_ns=fired_unix_ns,
                )
            if (
                earlier.status is Status.COMPLETE
                and conclusion.status is not Status.COMPLETE
                and records <= earlier.records
            ):
                return None
        return conclusion

    def note(self, conclusion: Conclusion) -> None:
        """A conclusion was committed."""
        trigger = (
            conclusion.trigger_name,
            conclusion.trigger_value,
            conclusion.trigger_host,
            conclusion.fired_unix_ns,
        )
        records = sum(part.records for part in conclusion.hosts)
        self._earlier[conclusion.trace_id] = Earlier(trigger, conclusion.status, records)
        self._earlier.move_to_end(conclusion.trace_id)
        if len(self._earlier) > REMEMBERED:
            self._earlier.popitem(last=False)

    def _look_up(self, trace_id: bytes) -> Earlier | None:
        try:
            trace = self._store.trace(trace_id)
        except StoreError:
            return None
        if not trace.concluded_unix_ns or trace.trigger is None:
            return None
        trigger = trace.trigger
        return Earlier(
            (trigger.name, trigger.value, trigger.host, trigger.time_unix_ns),
            trace.status,
            sum(part.records for part in trace.hosts),
        )
