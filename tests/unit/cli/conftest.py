from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.export.tracing import lateral
from tests.unit.records.building import EPOCH_NS
from tests.unit.records.cluster import LATERAL, conclusion, part, sources
from tests.unit.store.filling import put_sources
from wbpf.cli import main
from wbpf.records import Status
from wbpf.store import Store


class Ran(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `wbpf` with these arguments, as if its output went to a file."""
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*arguments: object) -> Ran:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Ran(status, *capsys.readouterr())

    return run_command


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three traces: a complete one over three hosts, its lateral, and an older one that is partial."""
    path = tmp_path / "traces.db"
    with Store.open(path) as opened:
        put_sources(opened, sources())
        counts = {"host1": (10, 320), "host2": (7, 312), "host3": (4, 136)}
        whole = [replace(part(name), records=r, bytes=b) for name, (r, b) in counts.items()]
        opened.conclude(conclusion(*whole))
        gathered = lateral()
        assert gathered.trigger
        opened.put_pieces([])
        opened.conclude(
            replace(conclusion(part("host1")), trace_id=LATERAL, laterals=(), fired_unix_ns=EPOCH_NS + 50_000)
        )
        late = (
            part("host1"),
            part("host2", Status.PARTIAL, "host2 did not answer"),
            part("host3", Status.UNKNOWN),
        )
        opened.conclude(
            replace(
                conclusion(*late),
                trace_id=bytes([0xAB]) * 16,
                trigger_name="stale_read",
                trigger_value=1.0,
                fired_unix_ns=EPOCH_NS - 3600 * 10**9,
                group_id=b"",
                laterals=(),
            )
        )
    return path
