"""What a process records is what the reader returns: names, fields, spans and their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.recorder.running import run
from tests.unit.recorder.reading import read_trace, segment_in, trace_ids
from wbpf.recorder import Segment

PROGRAM = """
import random
rng = random.Random(int(sys.argv[1]))

def value():
    return rng.choice([
        rng.randrange(-2**63, 2**64), rng.random() * 10**rng.randrange(-300, 300), rng.random() < 0.5,
        "".join(rng.choices("abcäö€😀 ", k=rng.randrange(30))), rng.randrange(10), None,
    ])

def fields():
    return {f"f{i}": value() for i in range(rng.randrange(5))}

def told(given):
    return {key: str(v) if v is None else v for key, v in given.items()}

def work(depth, out):
    for _ in range(rng.randrange(1, 7)):
        kind = rng.choice(["event", "event", "log", "metric", "span", "span"])
        name = f"{kind}.{rng.randrange(5)}"
        given = fields()
        if kind == "event":
            level = rng.choice([1, 5, 9, 13, 17, 21])
            wbpf.event(name, level=level, **given)
            out.append(["event", name, level, told(given)])
        elif kind == "log":
            text = "".join(rng.choices("xyzß", k=rng.randrange(1, 200)))
            wbpf.log(text)
            out.append(["log", "", 9, {"message": text}])
        elif kind == "metric":
            wbpf.metric(name, given_value := rng.random())
            out.append(["metric", name, 9, {"value": given_value}])
        elif depth < 5:
            with wbpf.span(name, **given):
                inner = []
                work(depth + 1, inner)
            out.append(["span", name, told(given), inner])

traces = {}
for i in range(300):
    given = fields()
    with wbpf.trace(f"trace.{i}", **given) as trace:
        out = []
        work(0, out)
    traces[trace.trace_id] = [f"trace.{i}", told(given), out]
print(json.dumps(traces))
"""


def nested(records: list[Any]) -> list[Any]:
    """The records of one thread as a tree of lists."""
    stack: list[list[Any]] = [[]]
    for record in records:
        if record.kind_name in ("begin", "span_begin"):
            stack[-1].append(["span", record.name, {}, []])
            stack.append(stack[-1][-1][3])
        elif record.kind_name in ("end", "span_end"):
            stack.pop()
        elif record.kind_name == "attributes":
            stack[-2][-1][2] = dict(record.fields)
        elif record.kind_name != "resume":
            stack[-1].append([record.kind_name, record.name, record.level, dict(record.fields)])
    assert len(stack) == 1
    return stack[0]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_names_fields_spans_and_order(tmp_path: Path, seed: int) -> None:
    written = json.loads(run(PROGRAM, tmp_path, str(seed)))
    path = segment_in(tmp_path)
    assert {id_.hex() for id_ in trace_ids(path)} == set(written)
    with Segment.open(path) as segment:
        assert segment.counters().refused == segment.counters().truncated == 0
    for trace_id, (name, attributes, out) in list(written.items())[::10]:
        trace = read_trace(path, trace_id)
        assert nested(trace.records) == [["span", name, attributes, out]]
        times = [record.time_unix_ns for record in trace.records]
        assert times == sorted(times)
