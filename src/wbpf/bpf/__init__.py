"""eBPF from Python: open an object, load it, attach its programs, use its maps. docs/bpf.md shows how.

`rings` records what programs tell into a segment of this host, `features` and `probes` say what the kernel
and the user running wBPF are able to do, `target` parses target strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbpf.bpf.kernel import Object as Object
    from wbpf.bpf.links import Link as Link
    from wbpf.bpf.maps import Map as Map
    from wbpf.bpf.maps import PinnedMap as PinnedMap
    from wbpf.bpf.per_cpu import PerCpu as PerCpu
    from wbpf.bpf.program import Program as Program
    from wbpf.bpf.program import TestRun as TestRun
    from wbpf.bpf.ringbuf import Ring as Ring
    from wbpf.bpf.ringbuf import Rings as Rings
    from wbpf.bpf.ringbuf import UserRing as UserRing
    from wbpf.bpf.user.objects import UserObject as UserObject
    from wbpf.bpf.variables import Variable as Variable
    from wbpf.bpf.variables import Variables as Variables

# Imported when they are first used: a module on the way to being attached waits for none of the others.
_HOMES = {
    "Object": "kernel",
    "Link": "links",
    "Map": "maps",
    "PinnedMap": "maps",
    "PerCpu": "per_cpu",
    "Program": "program",
    "TestRun": "program",
    "Ring": "ringbuf",
    "Rings": "ringbuf",
    "UserObject": "user.objects",
    "UserRing": "ringbuf",
    "Variable": "variables",
    "Variables": "variables",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


__all__ = [
    "Link",
    "Map",
    "Object",
    "PerCpu",
    "PinnedMap",
    "Program",
    "Ring",
    "Rings",
    "TestRun",
    "UserObject",
    "UserRing",
    "Variable",
    "Variables",
]
