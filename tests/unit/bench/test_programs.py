"""The C programs, built and run: they measure what they say, and notice what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.build import BenchError, build_programs
from bench.recorder.run import Run
from wbpf.recorder import Segment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(programs=build_programs(), seed=3, rounds=2, slice_us=200, quick=True)


def test_one_row_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "space.json"
    command = [
        sys.executable,
        "-m",
        "bench.recorder",
        "--quick",
        "--only",
        "space/trace",
        "--output",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["name"] == "space/trace"
    assert 240 < row["value"] <= 300
    assert row["met"] is True
    assert "space/trace " in done.stdout


def test_a_damaged_segment_is_noticed(run: Run, tmp_path: Path) -> None:
    (written,) = run.program("space", tmp_path, 4, 100, run.seed, "one")
    path = Path(written["segment"])
    (found,) = run.program("verify", path, run.seed, 64)
    assert (found["begins"], found["ends"], found["events"]) == (100, 100, 200)
    with Segment.open(path) as segment:
        assert segment.counters().resident_records == 400
    content = bytearray(path.read_bytes())
    event = content.rindex((199).to_bytes(8, "little"))
    content[event + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(BenchError, match="other bytes"):
        run.program("verify", path, run.seed, 64)


def test_a_wrong_seed_is_noticed(run: Run, tmp_path: Path) -> None:
    (written,) = run.program("space", tmp_path, 4, 100, run.seed, "two")
    with pytest.raises(BenchError, match="other bytes"):
        run.program("verify", written["segment"], run.seed + 1, 64)
