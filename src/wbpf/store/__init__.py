"""The store of gathered traces."""

from wbpf.store.database import default_path
from wbpf.store.reading import TraceSummary
from wbpf.store.store import Store, StoreStats

__all__ = ["Store", "StoreStats", "TraceSummary", "default_path"]
