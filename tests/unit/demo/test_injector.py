from __future__ import annotations

import json
from pathlib import Path

from wbpf.demo.injector import Effect, Fault, FaultKind, FaultLog, Stage, choose


def test_the_seed_decides() -> None:
    assert choose(7, 20_000, 0.001) == choose(7, 20_000, 0.001)
    assert choose(7, 20_000, 0.001).keys() != choose(8, 20_000, 0.001).keys()


def test_about_one_in_a_thousand_of_two_kinds() -> None:
    faults = choose(3, 1_000_000, 0.001)
    assert 880 < len(faults) < 1120
    kinds = [fault.kind for fault in faults.values()]
    assert 0.4 < kinds.count(FaultKind.STALE_READ) / len(kinds) < 0.6
    congestions = [fault for fault in faults.values() if fault.kind is FaultKind.CONGESTION]
    assert {fault.stage for fault in congestions} == set(Stage)
    assert all(1.5 <= fault.factor <= 8 and 1 <= fault.operations <= 3 for fault in congestions)


def test_no_fault_without_a_rate() -> None:
    assert choose(3, 100_000, 0.0) == {}


def test_the_log_has_a_line_for_each_fault(tmp_path: Path) -> None:
    fault = Fault(FaultKind.STALE_READ, Stage.REDUCE, 0.5)
    with FaultLog(tmp_path / "faults.jsonl") as log:
        log.write(3, bytes(range(16)), fault, Effect("host1", "3.1", True, True, True, 2, 2, 0))
        log.write(9, bytes(16), fault, None)
    lines = [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()]
    assert [line["request"] for line in lines] == [3, 9]
    assert [line["took_effect"] for line in lines] == [True, False]
    assert lines[0]["trace_id"] == bytes(range(16)).hex()
    assert lines[0]["kind"] == "stale_read"
    assert lines[1]["armed"] is False
