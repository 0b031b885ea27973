"""SIGKILL of a writer, an agent and a whole host in mid-run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.demo.running import Json, Run, assert_honest, reasons, run_demo

VICTIM = "host3"
OPTIONS = "--requests", 4000, "--fault-rate", 0.005, "--seed", 2


def killed(directory: Path, what: str) -> Run:
    run = run_demo(directory, *OPTIONS, "--kill", what)
    assert [(line["what"], line["host"]) for line in run.faults() if line["kind"] == "killed"] == [
        (what, VICTIM)
    ]
    assert run.printed["requests"] == 4000
    assert run.printed["false_alarms"] == 0
    assert_honest(run)
    return run


def unlabelled(run: Run) -> list[Json]:
    """Traces that are not complete for another reason than the victim's death."""
    return [
        trace
        for trace in run.traces()
        if trace["status"] != "complete"
        and VICTIM not in (said := reasons(trace))
        and VICTIM not in str(said)
    ]


def test_a_writer(tmp_path: Path) -> None:
    run = killed(tmp_path / "kept", "writer")
    assert run.status == 1
    assert run.printed["answer_correct"] is False
    lost = run.triggered_by("host_lost")
    assert lost
    assert all(VICTIM in str(reasons(trace)) for trace in lost)
    assert unlabelled(run) == []
    # It died inside one request, having recorded all that it added up: nothing of that is lost.
    (fatal,) = [trace for trace in lost if "died inside a span" in reasons(trace).get(VICTIM, "")]
    written = [r["fields"] for r in fatal["records"] if r["name"] == "partition.written"]
    (flights,) = [fields["flights"] for fields in written if fields["partition"].endswith(".3")]
    added = [r for r in fatal["records"] if r["name"] == "group.added" and r["host"] == VICTIM]
    assert sum(record["fields"]["flights"] for record in added) == flights
    for count in run.printed["faults"].values():
        assert 0 < count["effective"] == count["caught"]


def test_an_agent(tmp_path: Path) -> None:
    run = killed(tmp_path / "kept", "agent")
    assert run.status == 1  # the victim's own triggers reached nobody
    assert run.printed["answer_correct"] is True
    affected = [trace for trace in run.traces() if trace["status"] != "complete"]
    assert affected
    assert all("its agent disconnected" in reasons(trace).get(VICTIM, "") for trace in affected)


def test_an_agent_that_comes_back(tmp_path: Path) -> None:
    run = killed(tmp_path / "kept", "agent-restarted")
    assert run.status == 0
    for count in run.printed["faults"].values():
        assert 0 < count["effective"] == count["caught"] == count["complete"]


def test_a_host(tmp_path: Path) -> None:
    run = killed(tmp_path / "kept", "host")
    assert run.status == 1
    assert run.printed["answer_correct"] is False
    lost = run.triggered_by("host_lost")
    assert lost
    assert all("its agent disconnected" in reasons(trace).get(VICTIM, "") for trace in lost)
    assert unlabelled(run) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("what", ["writer", "agent", "agent-restarted", "host"])
def test_at_full_length(tmp_path: Path, what: str) -> None:
    run = run_demo(tmp_path / "kept", "--kill", what, timeout_s=300)
    assert run.printed["false_alarms"] == 0
    assert unlabelled(run) == []
    assert_honest(run)
