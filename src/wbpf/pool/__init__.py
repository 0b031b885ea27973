"""A pool of shared memory: an object store, and an emulator of hosts that share memory without coherence.

Times are modelled: each host has a virtual clock, and nothing sleeps.
"""

from wbpf._native import Envelope, ObjectWriter, PoolView, Timing, VerifyResult
from wbpf.pool import faults
from wbpf.pool.errors import (
    IntegrityError,
    MissingExtraError,
    PoolBusyError,
    PoolCorruptError,
    UnknownHostError,
    ViewReleasedError,
)
from wbpf.pool.host import HostInfo, PoolHost
from wbpf.pool.latency import AccessClass, LatencyTable
from wbpf.pool.pool import Pool, PoolStats, ReclaimResult

__all__ = [
    "AccessClass",
    "Envelope",
    "HostInfo",
    "IntegrityError",
    "LatencyTable",
    "MissingExtraError",
    "ObjectWriter",
    "Pool",
    "PoolBusyError",
    "PoolCorruptError",
    "PoolHost",
    "PoolStats",
    "PoolView",
    "ReclaimResult",
    "Timing",
    "UnknownHostError",
    "VerifyResult",
    "ViewReleasedError",
    "faults",
]
