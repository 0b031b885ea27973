from __future__ import annotations

import pytest

from tests.unit.cli.pooling import EARLIER, OBJECT, got, pooled, values
from tests.unit.records.building import EPOCH_NS
from wbpf.cli.wording import Wording, duration, moment, size, value_text
from wbpf.records import Record, Trace, Value, host_id


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (950, "950 ns"),
        (1_000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (123_456, "123 µs"),
        (4_560_000, "4.56 ms"),
        (-4_560_000, "-4.56 ms"),
        (1_230_000_000, "1.23 s"),
        (7_200_000_000_000, "7200 s"),
    ],
)
def test_durations_have_three_digits(ns: int, text: str) -> None:
    assert duration(ns) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 40, "3.0 TiB"), (5 << 50, "5120.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_moments_are_utc_and_none_is_too_far() -> None:
    assert moment(EPOCH_NS + 1_234_567) == "2025-10-09T08:53:20.001234Z"
    assert moment(0) == ""
    assert moment((1 << 63) - 1).startswith("2262-")
    assert moment(1 << 80).endswith(" ns")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (b"\x01", "0x01"),
        (0.1 + 0.2, "0.3"),
        (7, "7"),
        ("", "''"),
        ("a b", "'a b'"),
        ("a\x1b", "a\\x1b"),
    ],
)
def test_values(value: Value, text: str) -> None:
    assert value_text(value) == text


def gets(trace: Trace) -> list[Record]:
    return [record for record in trace.records if record.name == "pool.get"]


def test_a_stale_read_is_explained_from_the_events_fields() -> None:
    trace = pooled()
    wording, (stale, slow) = Wording(trace), gets(trace)
    assert wording.explain(stale) == (
        "stale: 26 of 126 lines are older than the pool's (the oldest has version 3, "
        "not 4); bytes of generation 7, written by host2; "
        f"the envelope read is of trace {EARLIER[:8].hex()}"
    )
    assert wording.source_host(stale) == "host2"
    assert wording.record(stale).rest == "part/3, generation 8, 7.8 KiB, 1.00 µs"
    assert wording.explain(slow) == ("slow: 12.0 µs, 12.0 × its base of 1.00 µs, 11.0 µs of it in a queue")
    assert wording.source_host(slow) == ""


def test_old_bytes_written_in_the_same_trace_are_dated() -> None:
    trace = pooled()
    stale = gets(trace)[0]
    stale.fields = got("host1", 9, stale=1, seen_generation=8, writer=host_id("host2"))
    assert str(Wording(trace).explain(stale)).endswith("bytes of generation 8, written by host2 at +20.0 µs")


def test_a_failed_verification_names_the_other_object() -> None:
    trace = pooled()
    verify = next(record for record in trace.records if record.name == "pool.verify")
    assert Wording(trace).explain(verify) == (
        "stale: another generation; bytes of part/4, generation 7, "
        f"written by host2 in trace {EARLIER[:8].hex()}"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stale": "many", "service_ns": b"x", "base_ns": 1.5, "object": "o", "generation": 0.0},
        values("host1", 1),
        got("host1", 1),
        {"stale": 3, "seen_generation": 2, "writer": 5, "writer_trace": 1 << 70},
        {"stale": 3, "filled": -1},
        {"result": 9, "object": OBJECT},
    ],
)
def test_odd_fields_are_no_error(fields: dict[str, Value]) -> None:
    trace = pooled()
    record = gets(trace)[0]
    record.fields = fields
    wording = Wording(trace)
    wording.explain(record)
    wording.source_host(record)
    assert wording.record(record).head == "pool.get"
