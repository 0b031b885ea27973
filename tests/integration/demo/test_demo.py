from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.demo.running import (
    COMMAND,
    Run,
    assert_honest,
    command_line,
    descendants,
    plain_environment,
    run_demo,
)

SCORE = Path(__file__).parents[2] / "score_demo.py"
OPTIONS = "--requests", 2000, "--fault-rate", 0.01


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_demo(tmp_path_factory.mktemp("demo") / "kept", "--seed", 5, *OPTIONS)


def test_every_fault_is_caught_and_complete(finished: Run) -> None:
    assert finished.status == 0
    for count in finished.printed["faults"].values():
        assert 0 < count["effective"] == count["caught"] == count["complete"] <= count["injected"]
    assert finished.printed["false_alarms"] == 0
    assert finished.printed["answer_correct"] is True
    assert_honest(finished)


def test_it_prints_what_was_promised(finished: Run) -> None:
    printed = finished.printed
    assert list(printed) == [
        "requests",
        "faults",
        "false_alarms",
        "bytes_recorded",
        "bytes_shipped",
        "bytes_faulted",
        "recording_share",
        "answer_correct",
        "seconds",
    ]
    assert printed["requests"] == 2000
    assert list(printed["faults"]) == ["stale_read", "congestion"]
    assert list(printed["faults"]["stale_read"]) == ["injected", "effective", "caught", "complete"]
    assert 0 < printed["recording_share"] < 0.5
    assert 0 < printed["bytes_faulted"] < printed["bytes_shipped"] <= 1.5 * printed["bytes_faulted"]
    assert printed["bytes_shipped"] < printed["bytes_recorded"] / 20


def test_the_script_scores_the_same(finished: Run) -> None:
    files = [finished.directory / "faults.jsonl", finished.directory / "traces.json"]
    command = [sys.executable, str(SCORE), *map(str, files)]
    scored = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert {key: finished.printed[key] for key in ("faults", "false_alarms", "bytes_faulted")} == {
        key: scored[key] for key in ("faults", "false_alarms", "bytes_faulted")
    }


def test_every_request_touches_two_to_four_hosts_and_traces_are_of_them_alone(finished: Run) -> None:
    faulted = {fault["trace_id"] for fault in finished.faults() if fault["took_effect"]}
    traces = finished.traces()
    assert {trace["trace_id"] for trace in traces} == faulted
    assert {len(trace["hosts"]) for trace in traces} <= {2, 3, 4}


def test_a_stale_read_says_where_its_bytes_came_from(finished: Run) -> None:
    traces = finished.triggered_by("stale_read")
    for trace in traces:
        stale = [r for r in trace["records"] if r["name"] == "pool.get" and r["fields"]["stale"]]
        assert len(stale) == 1
        assert stale[0]["fields"]["seen_generation"] < stale[0]["fields"]["generation"]
        assert stale[0]["fields"]["writer"]
        names = [record["name"] for record in trace["records"] if record["host"] == stale[0]["host"]]
        assert names.index("pool.verify") < names.index("stale_read") < names.index("pool.refresh")
    assert traces


def test_a_person_sees_a_table_a_trace_and_the_next_commands(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    command = [*COMMAND, "demo", *map(str, OPTIONS), "--keep", str(kept)]
    ended = subprocess.run(
        command, capture_output=True, check=True, text=True, cwd=tmp_path, env=plain_environment()
    )
    assert ended.stderr == ""
    for line in (
        "requests",
        "stale read",
        "congestion",
        "false alarms",
        "answer",
        "shipped",
        "modelled time",
    ):
        assert re.search(rf"^ {line} ", ended.stdout, re.MULTILINE), line
    assert "trigger stale_read" in ended.stdout
    assert "pool.get" in ended.stdout
    assert "written by host" in ended.stdout
    commands = [shlex.split(line) for line in ended.stdout.partition("next:\n")[2].splitlines()]
    assert [[Path(command[0]).name, *command[1:3]] for command in commands] == [
        ["wbpf", "traces", verb] for verb in ("list", "show", "export")
    ]
    for command in commands:
        again = subprocess.run([*COMMAND, *command[1:]], capture_output=True, check=True, cwd=tmp_path)
        assert again.stdout or list(tmp_path.glob("*.pftrace"))


def test_without_a_fault_nothing_is_shipped(tmp_path: Path) -> None:
    run = run_demo(tmp_path / "kept", "--requests", 2000, "--fault-rate", 0)
    assert run.status == 0
    assert run.traces() == []
    assert run.printed["bytes_shipped"] == run.printed["bytes_faulted"] == run.printed["false_alarms"] == 0
    assert run.printed["bytes_recorded"] > 10_000_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--requests", "400000"], "336776 flights can't be cut into 400000 requests"),
        (["--kill", "everything"], "use one of writer, agent"),
    ],
)
def test_what_can_not_be_run_is_refused(tmp_path: Path, options: list[str], said: str) -> None:
    command = [*COMMAND, "demo", "--keep", str(tmp_path / "kept"), *options]
    ended = subprocess.run(command, capture_output=True, check=False, text=True, env=plain_environment())
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert said in " ".join(ended.stderr.split())


def test_another_runs_results_are_not_overwritten(finished: Run) -> None:
    command = [*COMMAND, "demo", "--keep", str(finished.directory)]
    ended = subprocess.run(command, capture_output=True, check=False, text=True)
    assert ended.returncode == 2
    assert "it is not empty" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen([*COMMAND, "demo", "--keep", str(tmp_path / "kept")], stdout=subprocess.PIPE)
    workers: list[int] = []
    end_s = time.monotonic() + 60
    while len(workers) < 4 and time.monotonic() < end_s:
        time.sleep(0.1)
        below = dict(descendants(demo.pid))
        workers = [pid for pid, command in below.items() if "wbpf.demo.worker" in command]
    assert len(workers) == 4
    shared = json.loads(command_line(workers[0]).partition("worker ")[2].rpartition("}")[0] + "}")["tables"]
    assert Path(shared, "pool").exists()
    assert len(below) >= 4 + 6
    time.sleep(1)
    demo.send_signal(number)
    printed, _ = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert printed == b""
    assert not Path(shared).exists()
    assert [command for pid, command in below.items() if command_line(pid) == command != ""] == []
