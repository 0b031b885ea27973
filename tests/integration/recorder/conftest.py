from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.recorder.reading import check_all_counters


@pytest.fixture(autouse=True)
def counters_add_up(tmp_path: Path) -> Iterator[None]:
    """Every test here ends with the counters."""
    yield
    check_all_counters(tmp_path)
