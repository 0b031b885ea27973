from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import wbpf
from wbpf.recorder import Fired, Segment


class Recording:
    """A segment that this process records to, and what fired in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fired(self) -> list[tuple[str, Fired]]:
        with Segment.open(self.path, writable=True) as segment:
            names = dict(segment.schemas()[1])
            return [(names[one.trigger_id], one) for one in segment.take_triggers()]


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    wbpf.open("shop", host="host1", directory=tmp_path, size_mib=1)
    yield Recording(tmp_path / "host1" / "shop.seg")
    wbpf.close()
