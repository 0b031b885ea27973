from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.records.building import EPOCH_NS, SegmentWriter
from wbpf.demo.score import incompleteness, score, triggers
from wbpf.export import plain_trace
from wbpf.records import Conclusion, HostPart, Status, assemble, host_id

Json = dict[str, Any]
JOINED, ADDED = "flight.joined carrier:str", "group.added flights:i64"


def exported(trace_id: bytes, trigger: str, status: Status = Status.COMPLETE, why: str = "") -> Json:
    """A request that host0 mapped and host1 reduced, where the trigger fired."""
    mapper, reader = SegmentWriter("host0"), SegmentWriter("host1")
    run = (
        mapper.run(trace_id)
        .begin(0x10, 0, 1_000, "request")
        .attributes("request flights:i64", {"flights": 3})
    )
    run.event(JOINED, {"carrier": "UA"}, 1_500).event(JOINED, {"carrier": "B6"}).event(
        JOINED, {"carrier": "UA"}
    )
    run.span_begin(0x11, 0x10, 2_000, "partition").send(0xE1, "host1", 0x11, 3_000)
    run.span_end(0x11, 4_000).end(0x10, 5_000).done()
    run = reader.run(trace_id).begin(0x20, 0xE1, 6_000, "reduce").receive(0xE1, "host0", 6_100)
    run.trigger(trigger, 1, 7_000).event(ADDED, {"flights": 1}, 7_500).event(ADDED, {"flights": 2})
    run.end(0x20, 8_000).done()
    good, other = (HostPart(name, host_id(name), 7, Status.COMPLETE) for name in ("host0", "host1"))
    parts = good, replace(other, status=status, reasons=(why,) if why else ())
    end = EPOCH_NS + 10_000
    conclusion = Conclusion(trace_id, trigger, 1, "host1", EPOCH_NS + 7_000, b"", (), parts, end)
    trace = assemble(trace_id, [mapper.source(), reader.source()], conclusion)
    made: Json = json.loads(json.dumps(plain_trace(trace)))
    return made


def fault(trace_id: bytes, kind: str, took_effect: bool = True) -> Json:
    return {"request": 3, "kind": kind, "trace_id": trace_id.hex(), "took_effect": took_effect}


A, B, C = (bytes([number]) * 16 for number in (1, 2, 3))


def test_caught_and_complete() -> None:
    result = score(
        [fault(A, "stale_read"), fault(B, "congestion"), fault(C, "congestion", took_effect=False)],
        [exported(B, "congestion"), exported(A, "stale_read")],
    )
    stale, congestion = result.faults["stale_read"], result.faults["congestion"]
    assert (stale.injected, stale.effective, stale.caught, stale.complete) == (1, 1, 1, 1)
    assert (congestion.injected, congestion.effective, congestion.caught, congestion.complete) == (2, 1, 1, 1)
    assert result.all_caught
    assert result.false_alarms == 0
    assert result.bytes_faulted == 2 * sum(host["bytes"] for host in exported(A, "stale_read")["hosts"]) > 0
    assert result.example in (A.hex(), B.hex())
    assert result.problems == []


def test_a_fault_without_a_trace_is_missed() -> None:
    result = score([fault(A, "stale_read")], [])
    assert result.faults["stale_read"].caught == 0
    assert not result.all_caught
    assert "missed" in result.problems[0]


def test_the_wrong_trigger_is_a_miss_and_a_false_alarm() -> None:
    result = score([fault(A, "stale_read")], [exported(A, "congestion")])
    assert result.faults["stale_read"].caught == 0
    assert result.false_alarms == 1


def test_a_trace_without_an_effective_fault_is_a_false_alarm() -> None:
    result = score([fault(A, "congestion", took_effect=False)], [exported(A, "congestion")])
    assert result.false_alarms == 1
    assert result.all_caught


def test_a_lost_host_is_no_false_alarm_only_if_one_was_killed() -> None:
    trace = exported(A, "host_lost")
    assert score([], [trace]).false_alarms == 1
    assert score([{"kind": "killed", "what": "host", "host": "host3"}], [trace]).false_alarms == 0


@pytest.mark.parametrize("status", [Status.PARTIAL, Status.UNKNOWN])
def test_a_trace_that_says_it_is_not_complete(status: Status) -> None:
    result = score([fault(A, "stale_read")], [exported(A, "stale_read", status, "host1 died")])
    assert result.faults["stale_read"].caught == 1
    assert result.faults["stale_read"].complete == 0
    assert "host1 died" in result.problems[0]


def test_the_example_is_complete() -> None:
    trace = exported(A, "stale_read")
    assert triggers(trace) == {"stale_read"}
    assert list(incompleteness(trace)) == []


def test_a_trace_that_says_it_is_complete_and_lacks_a_record() -> None:
    whole = exported(A, "stale_read")
    needed = [turn for turn, record in enumerate(whole["records"]) if record["kind"] != "trigger"]
    assert len(needed) == 14
    for gone in needed:
        trace = copy.deepcopy(whole)
        del trace["records"][gone]
        assert list(incompleteness(trace)), whole["records"][gone]


def _another_host(trace: Json) -> None:
    trace["hosts"][1]["host_id"] = f"{host_id('host2'):016x}"


def _nobody(trace: Json) -> None:
    del trace["hosts"][1]


def _other_edge(trace: Json) -> None:
    received = next(r for r in trace["records"] if r["edge"] and r["edge"]["direction"] == "in")
    received["edge"]["edge_span_id"] = "00000000000000ff"


@pytest.mark.parametrize("damage", [_another_host, _nobody, _other_edge])
def test_a_trace_that_says_it_is_complete_and_contradicts_itself(damage: Callable[[Json], None]) -> None:
    trace = copy.deepcopy(exported(A, "stale_read"))
    damage(trace)
    assert list(incompleteness(trace))


@pytest.mark.parametrize(("traces", "status"), [([exported(A, "stale_read")], 0), ([], 1)])
def test_the_script(tmp_path: Path, traces: list[Json], status: int) -> None:
    faults, file = tmp_path / "faults.jsonl", tmp_path / "traces.json"
    faults.write_text(json.dumps(fault(A, "stale_read")) + "\n")
    file.write_text("".join(json.dumps(trace) + "\n" for trace in traces))
    script = Path(__file__).parents[2] / "score_demo.py"
    ended = subprocess.run(
        [sys.executable, script, faults, file], capture_output=True, check=False, text=True
    )
    assert ended.returncode == status, ended.stderr
    assert json.loads(ended.stdout)["faults"]["stale_read"]["caught"] == len(traces)
