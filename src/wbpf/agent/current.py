"""The traces that run now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from wbpf.recorder import Segment, Watch


def running_traces(segments: Iterable[Segment], most: int) -> list[bytes]:
    """Traces with a span that was begun by a live process and not ended.

    Reads all that is in the segments: for a person's question, not for a rule.

    Args:
        segments: to look into.
        most: how many at most.
    """
    open_spans: Counter[bytes] = Counter()
    for segment in segments:
        live = {process.index for process in segment.processes() if process.alive}
        for piece in Watch(segment).dump():
            if piece.process in live:
                open_spans[piece.trace_id] += piece.begins - piece.ends
    return [trace_id for trace_id, count in open_spans.items() if count > 0][:most]
