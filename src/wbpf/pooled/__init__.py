"""Segments in the pool: what a host has recorded, kept where it outlives the host.

The segment itself stays in the host's memory. A `Flusher` writes what is new in it to a region of the pool,
through the host's line cache; `recover` reads the regions of a host that died, on another one.
"""

from wbpf.pooled.flusher import FlushCounts, Flusher, FlushSpec
from wbpf.pooled.recovery import Recovered, recover
from wbpf.pooled.regions import free_region, regions

__all__ = ["FlushCounts", "FlushSpec", "Flusher", "Recovered", "free_region", "recover", "regions"]
