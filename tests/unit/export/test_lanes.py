from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.export.tracing import TRACE_ID, awkward
from tests.unit.records.building import SegmentWriter
from wbpf.export.lanes import lay_out, span_ends
from wbpf.records import assemble


@given(st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 30)), max_size=12))
def test_every_span_is_in_one_lane_and_lanes_nest(spans: list[tuple[int, int | None]]) -> None:
    segment = SegmentWriter("host1")
    steps = [(begin, 0, i + 1) for i, (begin, _) in enumerate(spans)]
    steps += [(begin + length, 1, i + 1) for i, (begin, length) in enumerate(spans) if length is not None]
    run = segment.run(TRACE_ID)
    for at, ends, number in sorted(steps):
        if ends:
            run.span_end(number, at)
        else:
            run.span_begin(number, 0, at, "s")
    if run.data:
        run.done()
    trace = assemble(TRACE_ID, [segment.source()])
    ends_at = span_ends(trace)
    seen = []
    for lane in lay_out(trace, ends_at):
        stack: list[int] = []
        last = 0
        for step in lane.steps:
            time = step.span.start_unix_ns if step.begins else ends_at[step.span.span_id]
            assert time >= last
            last = time
            if step.begins:
                stack.append(step.span.span_id)
                seen.append(step.span.span_id)
            else:
                assert stack.pop() == step.span.span_id
        assert stack == []
    assert sorted(seen) == list(range(1, len(spans) + 1))


def test_overlapping_tasks_get_a_second_lane() -> None:
    trace = awkward()
    lanes = lay_out(trace, span_ends(trace))
    names = [[step.span.name for step in lane.steps if step.begins] for lane in lanes]
    assert names == [["root", "task_a", "send host9", "hangs"], ["task_b"]]
    assert [lane.number for lane in lanes] == [0, 1]
