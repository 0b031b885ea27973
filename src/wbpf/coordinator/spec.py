"""What a coordinator is told before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from wbpf.coordinator.admission import AdmissionSpec
from wbpf.coordinator.verdict import Patience
from wbpf.wire import COLLECTOR_ADDRESS, COORDINATOR_ADDRESS, TlsSpec


@dataclass(frozen=True)
class CoordinatorSpec:
    """A coordinator.

    Args:
        address: where agents and people reach it; port 0 takes a free one.
        collector: the collector's address.
        tls: None: loopback only.
        patience: how long gathers wait.
        admission: when triggers are refused.
        retain_s: how long a closed gather is remembered, for what comes late.
        retain_most: how many at most.
    """

    address: str = COORDINATOR_ADDRESS
    collector: str = COLLECTOR_ADDRESS
    tls: TlsSpec | None = None
    patience: Patience = field(default_factory=Patience)
    admission: AdmissionSpec = field(default_factory=AdmissionSpec)
    retain_s: float = 60.0
    retain_most: int = 8192
