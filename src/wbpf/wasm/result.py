"""How a run ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from wbpf.errors import WasmError, WbpfError


class Cause(Enum):
    """Why a guest ended; the order is that of wbpf_guest_cause."""

    EXITED = "exited"
    TRAPPED = "trapped"
    REFUSED = "refused"
    OVERTIME = "overtime"
    STOPPED = "stopped"


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Args:
        cause: EXITED with a status, or STOPPED by the host.
        exit_status: of the guest; 0 if it was stopped.
        events: how many it emitted that passed the filter.
        memory_bytes: of linear memory at its end.
        error: the last call of the host's that failed, if any: what a guest that exits with a status above 0
            most likely gave up for.
        has_told: whether the guest asked for the words of that error, so has most likely printed them.
    """

    cause: Cause
    exit_status: int
    events: int = 0
    memory_bytes: int = 0
    error: WbpfError | None = None
    has_told: bool = False


_WHAT = {
    Cause.TRAPPED: "trapped",
    Cause.REFUSED: "was ended",
    Cause.OVERTIME: "was ended",
}
#: What is found before anything of it runs.
_BEFORE = ("was built for version", "no function _start", "incompatible import type")
_HINTS = {
    "all fuel consumed": "give it more fuel",
    "out of bounds memory access": "see which; a store to a window that is only to be read does this too",
    "call stack exhausted": "see which function calls itself",
    "computed for": "let it wait in between, or give it more time: --deadline",
    "memory minimum size": "give it more memory: --memory MIB",
    "incompatible import type": "build it for this version of the guest ABI",
    "was built for version": "use a newer wBPF, or build it with the SDK of this one",
    "no function _start": "build it as a command, with a main function",
}


def ended(name: str, cause: Cause, why: str, trace: str) -> WasmError:
    """The error for a guest that did not end by itself."""
    frames = tuple(line for line in trace.splitlines() if line)
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    text = re.sub(r"^(\d+: )?(wasm trap: )?", "", lines[-1]) if lines else cause.value
    if frames and cause is not Cause.REFUSED:
        text = f"{text}, in {frames[0]}" + (f" (called by {frames[1]})" if len(frames) > 1 else "")
    hint = next((hint for part, hint in _HINTS.items() if part in why), "")
    what = "can't be run" if any(part in why for part in _BEFORE) else _WHAT[cause]
    error = WasmError(f"module {name!r} {what}", text, hint)
    error.trace = frames
    return error
