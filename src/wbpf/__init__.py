"""wBPF: a flight recorder for clusters that share memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbpf.recorder import Level as Level
    from wbpf.recorder import LogHandler as LogHandler
    from wbpf.recorder import Scope as Scope
    from wbpf.recorder import TraceContext as TraceContext
    from wbpf.recorder import attach as attach
    from wbpf.recorder import clear as clear
    from wbpf.recorder import close as close
    from wbpf.recorder import current as current
    from wbpf.recorder import detach as detach
    from wbpf.recorder import enabled as enabled
    from wbpf.recorder import event as event
    from wbpf.recorder import inject as inject
    from wbpf.recorder import log as log
    from wbpf.recorder import metric as metric
    from wbpf.recorder import open as open
    from wbpf.recorder import probe as probe
    from wbpf.recorder import reduce as reduce
    from wbpf.recorder import send as send
    from wbpf.recorder import span as span
    from wbpf.recorder import trace as trace
    from wbpf.recorder import traced as traced
    from wbpf.recorder import trigger as trigger

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:  # commands that record nothing don't wait for these
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
    "probe",
    "reduce",
    "send",
    "span",
    "trace",
    "traced",
    "trigger",
]
