"""Finding traces in full segments."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.recorder.run import SEGMENT_MIB, Run, slices_of
from bench.result import Bar, Row, median_row

KINDS = ("random", "zero_padded")
BAR_MS = 12.0
NAMES = [f"search/320MB/{kind}{ids}" for kind in KINDS for ids in ("", "/1id", "/1000ids")]


def rows(run: Run) -> Iterator[Row]:
    """All rows named above."""
    with run.folder() as folder:
        lines = run.program("search", folder, SEGMENT_MIB, max(10, run.rounds // 2), run.seed)
    slices = slices_of(lines)
    for name in NAMES:
        kind = name.removeprefix("search/320MB/")
        reading = slices[f"{kind.partition('/')[0]}/directories", 1].samples
        yield median_row(
            name,
            "ms",
            [sample / 1e6 for sample in slices[kind, 1].samples],
            baseline=statistics.median(reading) / 1e6,
            baseline_is="reading every directory once",
            bar=None if "/" in kind else Bar(BAR_MS, f"at most {BAR_MS:g} ms"),
            facts={"traces": lines[-1]["count"], "disturbed": slices[kind, 1].disturbed},
        )
