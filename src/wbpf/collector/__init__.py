"""The collector: keeps gathered traces in the store."""

from wbpf.collector.collector import Collector
from wbpf.collector.spec import CollectorSpec

__all__ = ["Collector", "CollectorSpec"]
