"""eBPF from Python: open an object, load it, attach its programs, use its maps. docs/bpf.md shows how.

`rings` makes what programs record a segment of this host, `features` says what the kernel and the user
running wBPF are able to do, `target` parses target strings.
"""

from wbpf.bpf.kernel import Object
from wbpf.bpf.links import Link
from wbpf.bpf.maps import Map, PinnedMap
from wbpf.bpf.per_cpu import PerCpu
from wbpf.bpf.program import Program, TestRun
from wbpf.bpf.ringbuf import Ring, Rings, UserRing
from wbpf.bpf.variables import Variable, Variables

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
    "UserRing",
    "Variable",
    "Variables",
]
