from __future__ import annotations

import pytest

from tests.unit.coordinator.simulated import Cluster
from tests.unit.coordinator.situations import connected


@pytest.fixture
def cluster() -> Cluster:
    """Three hosts, each with an agent that the coordinator knows."""
    return connected("abc")
