"""Recording traces into shared memory, and reading them back.

Applications use the first half, which `wbpf` offers too: `open`, `trace`, `span`, `event` … The second
half, from `Segment` on, is for agents and tools; it is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wbpf._native import (
    Scope,
    TraceContext,
    attach,
    clear,
    current,
    detach,
    enabled,
    event,
    inject,
    log,
    metric,
    reduce,
    send,
    span,
    trace,
    trigger,
)
from wbpf.recorder.decorator import traced
from wbpf.recorder.opening import close, open, segment_path
from wbpf.recorder.probe_site import probe

if TYPE_CHECKING:
    from wbpf.recorder.doorbell import Doorbell as Doorbell
    from wbpf.recorder.folder import host_directory as host_directory
    from wbpf.recorder.folder import segments as segments
    from wbpf.recorder.log_handler import LogHandler as LogHandler
    from wbpf.recorder.segment import Counters as Counters
    from wbpf.recorder.segment import Fired as Fired
    from wbpf.recorder.segment import Process as Process
    from wbpf.recorder.segment import Segment as Segment
    from wbpf.recorder.watch import Piece as Piece
    from wbpf.recorder.watch import Watch as Watch
    from wbpf.records.layout import Level as Level

_LATER = {
    "Counters": "wbpf.recorder.segment",
    "Doorbell": "wbpf.recorder.doorbell",
    "Fired": "wbpf.recorder.segment",
    "Level": "wbpf.records.layout",
    "LogHandler": "wbpf.recorder.log_handler",
    "Piece": "wbpf.recorder.watch",
    "Process": "wbpf.recorder.segment",
    "Segment": "wbpf.recorder.segment",
    "Watch": "wbpf.recorder.watch",
    "host_directory": "wbpf.recorder.folder",
    "segments": "wbpf.recorder.folder",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


__all__ = [
    "Counters",
    "Doorbell",
    "Fired",
    "Level",
    "LogHandler",
    "Piece",
    "Process",
    "Scope",
    "Segment",
    "TraceContext",
    "Watch",
    "attach",
    "clear",
    "close",
    "current",
    "detach",
    "enabled",
    "event",
    "host_directory",
    "inject",
    "log",
    "metric",
    "open",
    "probe",
    "reduce",
    "segment_path",
    "segments",
    "send",
    "span",
    "trace",
    "traced",
    "trigger",
]
