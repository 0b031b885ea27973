"""The coordinator: decides what is gathered, finds the hosts, says how it ended."""

from wbpf.coordinator.admission import AdmissionSpec
from wbpf.coordinator.coordination import Coordination
from wbpf.coordinator.coordinator import Coordinator
from wbpf.coordinator.spec import CoordinatorSpec
from wbpf.coordinator.verdict import Patience

__all__ = ["AdmissionSpec", "Coordination", "Coordinator", "CoordinatorSpec", "Patience"]
