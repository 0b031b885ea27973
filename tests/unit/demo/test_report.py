from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from wbpf.demo import report
from wbpf.demo.result import DemoResult, DemoSpec
from wbpf.demo.score import Count, Score

GOOD = DemoResult(
    spec=DemoSpec(Path("kept"), requests=2000),
    score=Score(
        {"stale_read": Count(4, 3, 3, 3), "congestion": Count(2, 2, 2, 2)}, 0, 20_480, (3, "ab" * 16), []
    ),
    records=1_000_000,
    bytes_recorded=64 << 20,
    bytes_shipped=26_624,
    recording_s=0.5,
    cpu_s=10.0,
    answer_correct=True,
    seconds=4.0,
    virtual_ns={"host0": 1_500_000_000, "host1": 1_400_000_000},
    lost=0,
    dead=(),
    unfinished=0,
)


def drawn(result: DemoResult) -> str:
    console = Console(width=130, color_system=None)
    with console.capture() as capture:
        console.print(report.table(result))
    return "\n".join(" ".join(line.split()) for line in capture.get().splitlines())


def test_the_table() -> None:
    lines = drawn(GOOD).splitlines()
    assert "requests 2,000 4 hosts, 4.0 s, 500 a second" in lines
    assert "stale read 3 of 3 caught 3 complete; 4 injected, 3 took effect" in lines
    assert "shipped 26.0 KiB 1.30 × the faulted traces' own 20.0 KiB; 0.040% of what was recorded" in lines
    assert "recorded 64.0 MiB 1,000,000 records, in memory only" in lines
    assert any(line.startswith("recording cost 5.0% 0.50 of the hosts' 10.0 s of CPU time") for line in lines)
    assert any(line.startswith("modelled time 1.50 s virtual clock") for line in lines)
    assert report.troubles(GOOD) == []


def test_what_went_wrong_is_said() -> None:
    result = replace(GOOD, answer_correct=False, dead=("host3",), lost=7, unfinished=2)
    assert "answer WRONG host3 died with what it had added up; 7 requests were under way there" in drawn(
        result
    )
    assert report.troubles(result) == ["2 traces were asked for and not gathered in time"]


def test_a_run_without_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    quiet = replace(GOOD, score=Score(), bytes_shipped=0)
    assert "shipped 0.0 KiB no fault took effect" in drawn(quiet)
    assert report.next_commands(quiet) == ["wbpf traces list --store kept/traces.db"]
    assert quiet.passed


def test_commands_name_the_environment_that_is_not_active(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/wbpf").touch()
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin/python"))
    assert report.command() == str(tmp_path / "bin/wbpf")
    monkeypatch.chdir(tmp_path)
    assert report.command() == "bin/wbpf"


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, answer_correct=False),
        replace(GOOD, score=Score({"stale_read": Count(1, 1, 0, 0)})),
        replace(GOOD, score=Score({"stale_read": Count(1, 1, 1, 0)})),
    ],
)
def test_a_missed_fault_an_incomplete_trace_or_a_wrong_answer_is_a_failure(bad: DemoResult) -> None:
    assert GOOD.passed
    assert not bad.passed


def test_what_is_printed_for_programs() -> None:
    printed = GOOD.to_dict()
    assert printed["faults"]["stale_read"] == {"injected": 4, "effective": 3, "caught": 3, "complete": 3}
    assert printed["recording_share"] == 0.05
    assert printed["bytes_faulted"] == 20_480
