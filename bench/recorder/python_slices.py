"""Events, spans and spans of the OpenTelemetry SDK in turns: `python -m bench.recorder.python_slices`.

    python_slices DIRECTORY MIB ROUNDS SEED

The SDK is set up as in production: a batch processor with an exporter, which here throws spans away. Prints
one line of JSON an operation, as the C programs do, and what was written.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import repeat

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import wbpf

COUNTS = {"event": 20_000, "span": 5_000, "otel_span": 500}


class Discard(SpanExporter):
    """Takes spans and does nothing with them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def main(directory: str, mib: str, rounds: str, seed: str) -> None:
    """Measure and print."""
    wbpf.open("python", host="bench", directory=directory, size_mib=int(mib))
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discard()))
    tracer = provider.get_tracer("bench")

    def events(count: int) -> None:
        event = wbpf.event
        for _ in repeat(None, count):
            event("bench.event", key="customer-4711", count=3, state="in progress")

    def spans(count: int) -> None:
        span = wbpf.span
        for _ in repeat(None, count):
            with span("bench.span", key="customer-4711", count=3, state="in progress"):
                pass

    def otel_spans(count: int) -> None:
        start = tracer.start_as_current_span
        for _ in repeat(None, count):
            with start("bench.span", attributes={"key": "customer-4711", "count": 3, "state": "in progress"}):
                pass

    samples = slices({"event": events, "span": spans, "otel_span": otel_spans}, int(rounds), int(seed))
    for name, values in samples.items():
        line = {"name": name, "threads": 1, "count": COUNTS[name], "disturbed": 0, "samples": values}
        print(json.dumps(line))
    times = int(rounds) + 1
    print(json.dumps({"name": "written", "events": times * COUNTS["event"], "spans": times * COUNTS["span"]}))
    wbpf.close()


def slices(operations: dict[str, Callable[[int], None]], rounds: int, seed: int) -> dict[str, list[float]]:
    """Nanoseconds a call, of each slice; the round before the first only warms up."""
    order, shuffle = list(operations), random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in order}
    gc.collect()
    for turn in range(rounds + 1):
        shuffle.shuffle(order)
        for name in order:
            with wbpf.trace("bench.slice"):
                began = time.perf_counter_ns()
                operations[name](COUNTS[name])
                took = time.perf_counter_ns() - began
            if turn:
                samples[name].append(took / COUNTS[name])
    return samples


if __name__ == "__main__":
    main(*sys.argv[1:])
