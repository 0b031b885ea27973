"""The store of gathered traces."""

from wbpf.store.reading import TraceSummary
from wbpf.store.store import Store, StoreStats, default_path

__all__ = ["Store", "StoreStats", "TraceSummary", "default_path"]
