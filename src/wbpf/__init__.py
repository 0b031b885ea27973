"""wBPF: a flight recorder for clusters that share memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wbpf.recorder import (
    Scope,
    TraceContext,
    attach,
    clear,
    close,
    current,
    detach,
    enabled,
    event,
    inject,
    log,
    metric,
    open,
    reduce,
    send,
    span,
    trace,
    traced,
    trigger,
)

if TYPE_CHECKING:
    from wbpf.recorder import Level as Level
    from wbpf.recorder import LogHandler as LogHandler

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in ("Level", "LogHandler"):  # these two would make importing wbpf several times slower
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wbpf import recorder

    globals()[name] = value = getattr(recorder, name)
    return value


__all__ = [
    "Level",
    "LogHandler",
    "Scope",
    "TraceContext",
    "__version__",
    "attach",
    "clear",
    "close",
    "current",
    "detach",
    "enabled",
    "event",
    "inject",
    "log",
    "metric",
    "open",
    "reduce",
    "send",
    "span",
    "trace",
    "traced",
    "trigger",
]
