from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wbpf
from tests.unit.recorder.reading import check_all_counters, segment_in


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Path]:
    """The path of a segment of 1 MiB that this process records to."""
    wbpf.open("shop", host="host1", directory=tmp_path, size_mib=1)
    yield segment_in(tmp_path)
    wbpf.attach(None)
    wbpf.close()
    check_all_counters(tmp_path)
