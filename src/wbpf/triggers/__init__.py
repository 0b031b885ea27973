"""Triggers: cheap rules that see a symptom where it happens, and have the trace gathered.

    slow = LatencyPercentile(0.99, laterals=RecentIds(8))
    with wbpf.trace("checkout", triggers=[slow, OnException()]):
        ...

Each also judges single values, `slow.observe(12.5)`, and blocks of code, `with slow.watch():`. All are safe
to share between threads and bounded in memory.
"""

from wbpf.triggers.category import RareCategory
from wbpf.triggers.exception import OnException
from wbpf.triggers.latency import LatencyPercentile, LatencyThreshold
from wbpf.triggers.queue_length import QueueLength
from wbpf.triggers.recent import RecentIds
from wbpf.triggers.sliding_quantile import SlidingQuantile
from wbpf.triggers.trigger import Trigger

__all__ = [
    "LatencyPercentile",
    "LatencyThreshold",
    "OnException",
    "QueueLength",
    "RareCategory",
    "RecentIds",
    "SlidingQuantile",
    "Trigger",
]
