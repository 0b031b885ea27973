"""Scores a run from two files alone: what the injector wrote down, and the exported traces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wbpf.demo.injector import KILLED, FaultKind

#: An exported trace or a line of the injector, as JSON holds it.
Line = Mapping[str, Any]

#: The trigger that asks for the traces which a dead host had a part in.
HOST_LOST = "host_lost"


@dataclass(slots=True)
class Count:
    """Faults of one kind.

    Args:
        effective: took effect, by the word of the pool's library.
        caught: of these, exported with the right trigger.
        complete: of these, everything is in the trace.
    """

    injected: int = 0
    effective: int = 0
    caught: int = 0
    complete: int = 0


@dataclass(slots=True)
class Score:
    """The score of a run.

    Args:
        false_alarms: exported traces with a trigger and no fault that took effect.
        bytes_faulted: the records of the traces with a fault that took effect.
        worth: how much a caught trace tells, and its id, of the one that tells most.
        problems: what was missed or is incomplete, a sentence each.
    """

    faults: dict[str, Count] = field(default_factory=lambda: {str(kind): Count() for kind in FaultKind})
    false_alarms: int = 0
    bytes_faulted: int = 0
    worth: tuple[int, str] = (0, "")
    problems: list[str] = field(default_factory=list)

    @property
    def example(self) -> str:
        """Id of a caught trace that is worth a look; empty if there is none."""
        return self.worth[1]

    @property
    def all_caught(self) -> bool:
        return all(count.effective == count.caught == count.complete for count in self.faults.values())

    def to_dict(self) -> dict[str, Any]:
        """What `tests/score_demo.py` prints."""
        said = asdict(self) | {"example": self.example}
        del said["worth"]
        return said


def score(faults: Iterable[Line], traces: Iterable[Line]) -> Score:
    """Compare what was injected with what was gathered.

    Args:
        faults: lines of the injector's file.
        traces: exported traces, of `wbpf traces export --format json`.
    """
    result = Score()
    exported = {trace["trace_id"]: trace for trace in traces}
    expected: dict[str, str] = {}
    killed = False
    for fault in faults:
        if fault["kind"] == KILLED:
            killed = True
            continue
        count = result.faults[fault["kind"]]
        count.injected += 1
        if not fault["took_effect"]:
            continue
        count.effective += 1
        expected[fault["trace_id"]] = fault["kind"]
        _judge(fault, exported.get(fault["trace_id"]), count, result)
    for trace_id, trace in exported.items():
        wrong = triggers(trace) - {expected.get(trace_id), HOST_LOST if killed else None}
        if wrong:
            result.false_alarms += 1
            result.problems.append(f"trace {trace_id}: {', '.join(sorted(wrong))} without such a fault")
    return result


def _judge(fault: Line, trace: Line | None, count: Count, result: Score) -> None:
    what = f"{fault['kind']} in request {fault['request']}, trace {fault['trace_id']}"
    if trace is None or fault["kind"] not in triggers(trace):
        result.problems.append(f"{what}: missed")
        return
    count.caught += 1
    result.bytes_faulted += sum(host["bytes"] for host in trace["hosts"])
    result.worth = max(result.worth, (_worth(trace), trace["trace_id"]))
    missing = list(incompleteness(trace))
    count.complete += not missing
    result.problems += [f"{what}: {reason}" for reason in missing]


def _worth(trace: Line) -> int:
    """1 for a congestion, 2 for a stale read, 3 if it is known which trace wrote the stale bytes."""
    stale = list(_named(trace, "stale.seen"))
    return 1 + bool(stale) + any(record["fields"]["writer_trace"] for record in stale)


def triggers(trace: Line) -> set[str]:
    """The names of the triggers that fired for a trace."""
    fired = {record["name"] for record in trace["records"] if record["kind"] == "trigger"}
    return fired | ({trace["trigger"]["name"]} if trace["trigger"] else set())


def incompleteness(trace: Line) -> Iterator[str]:
    """Why a trace is not complete: by its status, and by what is in it."""
    for host in trace["hosts"]:
        if host["status"] != "complete":
            yield f"{host['name']} is {host['status']}: {'; '.join(host['reasons'])}"
    yield from _edges(trace)
    yield from _flights(trace)
    for first, last in (("begin", "end"), ("span_begin", "span_end")):
        begun, ended = _spans(trace, first), _spans(trace, last)
        for host, span in sorted(begun ^ ended):
            yield f"{host}: span {span} has no {last if (host, span) in begun else first}"


def _flights(trace: Line) -> Iterator[str]:
    """Each flight of the request was joined, and added up, once."""
    known = [
        record["fields"]["flights"] for record in _named(trace, "request") if "flights" in record["fields"]
    ]
    joined = sum(1 for _ in _named(trace, "flight.joined"))
    added = sum(record["fields"]["flights"] for record in _named(trace, "group.added"))
    if known != [joined]:
        yield f"a request of {known} flights says that {joined} were joined"
    if joined != added:
        yield f"{joined} flights were joined, {added} added up"


def _named(trace: Line, name: str) -> Iterator[Line]:
    return (record for record in trace["records"] if record["name"] == name)


def _edges(trace: Line) -> Iterator[str]:
    """Each host that a breadcrumb names was there, and each that was there was named."""
    ids = {host["host_id"]: host["name"] for host in trace["hosts"]}
    sent: dict[str, Line] = {}
    received: dict[str, Line] = {}
    for record in trace["records"]:
        if record["host"] not in ids.values():
            yield f"{record['host']} has records and no verdict"
        if record["edge"]:
            ends = sent if record["edge"]["direction"] == "out" else received
            ends[record["edge"]["edge_span_id"]] = record
    for edge, record in sent.items():
        peer = ids.get(record["edge"]["peer_host_id"], "a host without a part in it")
        if edge not in received:
            yield f"{record['host']} sent it to {peer}, which did not receive it"
        elif received[edge]["host"] != peer:
            yield f"{record['host']} sent it to {peer}, and {received[edge]['host']} received it"
    for edge, record in received.items():
        if edge not in sent:
            yield f"{record['host']} received it from nobody"


def _spans(trace: Line, kind: str) -> set[tuple[str, str]]:
    records = (record for record in trace["records"] if record["kind"] == kind)
    return {(record["host"], record["span_id"] or "") for record in records}


def score_files(faults: Path, traces: Path) -> Score:
    """Score a run.

    Args:
        faults: the injector's file, a JSON object a line.
        traces: the exported traces, a JSON object a line.
    """
    with faults.open() as injected, traces.open() as exported:
        return score(map(json.loads, injected), map(json.loads, exported))
