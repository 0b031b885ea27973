"""What a collector is told before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from wbpf.store import default_path
from wbpf.wire import COLLECTOR_ADDRESS, TlsSpec


@dataclass(frozen=True)
class CollectorSpec:
    """A collector.

    Args:
        address: where agents and the coordinator reach it; port 0 takes a free one.
        store: the SQLite file; its folder is made.
        tls: None: loopback only.
        retain_bytes: the store's size from which on the oldest traces are deleted.
        retain_s: the age from which on traces are deleted, seconds.
        retain_every_s: how often that is looked at.
        waiting_bytes: received and not yet committed: from there on nothing more is read from the wire.
    """

    address: str = COLLECTOR_ADDRESS
    store: Path = field(default_factory=default_path)
    tls: TlsSpec | None = None
    retain_bytes: int = 10 << 30
    retain_s: float = 7 * 86400.0
    retain_every_s: float = 10.0
    waiting_bytes: int = 64 << 20
