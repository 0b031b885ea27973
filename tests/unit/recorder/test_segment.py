from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import wbpf
from tests.unit.recorder.reading import segment_in
from wbpf.errors import AccessError, ConfigError, FormatError, SegmentError
from wbpf.recorder import Doorbell, Level, Segment, Watch
from wbpf.records import Schema, decode_run, host_id, parse_schemas, schema_id
from wbpf.records.layout import Clock, Direction, Kind


def test_the_header_s_facts(segment: Path) -> None:
    with Segment.open(segment) as reader:
        assert (reader.path, reader.host, reader.service) == (segment, "host1", "shop")
        assert reader.host_id == host_id("host1")
        assert reader.size_bytes == 1 << 20 == segment.stat().st_size
        assert reader.chunk_bytes * reader.chunk_count < reader.size_bytes
        assert abs(reader.created_unix_ns - time.time_ns()) < 60e9
        assert reader.clock_kind in set(Clock)
        assert reader.ticks_hz > 0
        assert reader.segment_id != reader.incarnation != 0
        assert reader.incarnation == int.from_bytes(
            (segment.parent / "incarnation").read_bytes()[:8], "little"
        )


def test_clocks(segment: Path) -> None:
    with Segment.open(segment, writable=True) as reader:
        before = len(reader.calibrations())
        reader.calibrate()
        readings = reader.calibrations()
        assert len(readings) == before + 1
        assert sorted(readings) == readings
        assert all(reading.error_ns > 0 for reading in readings)
        assert abs(reader.ticks_to_unix_ns(reader.now_ticks()) - time.time_ns()) < 1e9
        assert reader.ticks_to_unix_ns(0) == 0
    with Segment.open(segment) as reader, pytest.raises(SegmentError, match="needs a writable segment"):
        reader.calibrate()


def test_schemas_can_be_read_on(segment: Path) -> None:
    with Segment.open(segment) as reader:
        start, _ = reader.schemas()
        wbpf.event("one", a=1)
        middle, first = reader.schemas(start)
        wbpf.event("two", b="x", c=2.0)
        end, second = reader.schemas(middle)
        assert [text for _, text in first] == ["one a:i64"]
        assert second == [(schema_id("two b:str c:f64"), "two b:str c:f64")]
        assert reader.schemas(end) == (end, [])
        assert parse_schemas(dict(second))[second[0][0]] == Schema("two", (("b", "str"), ("c", "f64")))
        assert reader.schemas(3)[1] == []


def test_counters_and_processes(segment: Path) -> None:
    with Segment.open(segment) as reader:
        before = reader.counters()
        with wbpf.trace("request"):
            for i in range(100):
                wbpf.event("tick", n=i)
        after = reader.counters()
        assert after.resident_records - before.resident_records == 102
        assert after.resident_bytes > before.resident_bytes
        assert (after.refused, after.truncated, after.lost_until_ticks) == (0, 0, 0)
        assert (after.processes_alive, after.chunks_owned) == (1, 1)
        (process,) = reader.processes()
        assert (process.pid, process.alive, process.generation) == (os.getpid(), True, 1)
    wbpf.close()
    with Segment.open(segment) as reader:
        (process,) = reader.processes()
        assert not process.alive
        assert reader.counters().processes_alive == 0


def test_a_watch_returns_what_is_new(segment: Path) -> None:
    with wbpf.trace("other"):
        wbpf.event("of.other")
    with Segment.open(segment) as reader:
        watch = Watch(reader)
        with wbpf.trace("wanted") as trace:
            wbpf.inject("host2")
            wbpf.trigger("slow", laterals=["0" * 31 + "1"])
            wanted = bytes.fromhex(trace.trace_id)
            watch.add([wanted])
            (first,), lost = watch.poll()
            assert lost == 0
            assert (first.trace_id, first.records, first.begins, first.ends) == (wanted, 3, 1, 0)
            assert first.starts_run
            assert not first.cleared
            assert [(d, peer) for d, peer, _ in first.breadcrumbs] == [(Direction.OUT, host_id("host2"))]
            assert first.laterals == [bytes(15) + b"\1"]
            assert watch.poll() == ([], 0)
            wbpf.event("more", n=1)
        (second,), _ = watch.poll()
        assert not second.starts_run
        assert (second.chunk, second.uses) == (first.chunk, first.uses)
        assert second.start_unit == first.start_unit + len(first.data) // 8
        schemas = parse_schemas(dict(reader.schemas()[1]))
        assert [(r.kind, r.name) for r in decode_run(second.data, schemas)] == [
            (Kind.EVENT, "more"),
            (Kind.END, ""),
        ]
        watch.remove([wanted])
        with wbpf.trace("again", trace.context):
            pass
        assert watch.poll() == ([], 0)
        assert {piece.trace_id for piece in watch.dump()} > {wanted}


def test_what_is_asked_for_later_is_found_as_by_a_new_watch(segment: Path) -> None:
    """What a watch remembers of chunks serves its next searches, whatever was written or recycled since."""
    numbers = random.Random(5)
    ids: list[bytes] = []

    def pieces_of(watch: Watch, wanted: list[bytes]) -> set[tuple[Any, ...]]:
        watch.add(wanted)
        found = watch.poll()[0]
        watch.remove(wanted)
        return {(one.trace_id, one.chunk, one.uses, one.start_unit, bytes(one.data)) for one in found}

    with Segment.open(segment) as reader:
        watch, found = Watch(reader), 0
        watch.add([bytes(15) + b"\1"])  # always
        for turn in range(150):
            for _ in range(numbers.choice((0, 3, 60))):
                with wbpf.trace("request") as trace:
                    wbpf.event("filling", text="x" * numbers.randrange(600))
                ids.append(bytes.fromhex(trace.trace_id))
            if turn % 3 == 0:
                assert watch.poll() == ([], reader.counters().lost_until_ticks)
            most = 100 if turn % 10 == 0 else 4  # a few are looked for in what is remembered, many are not
            wanted = numbers.sample(ids[-4000:], min(most, len(ids))) + ids[-1:]
            pieces = pieces_of(watch, wanted)
            assert pieces == pieces_of(Watch(reader), wanted)
            found += len(pieces)
        counters = reader.counters()
        assert found > 300 and counters.recycled_records > counters.resident_records


def test_clearing_marks_what_no_live_process_writes_to(segment: Path) -> None:
    with wbpf.trace("good") as good:
        pass
    id_ = bytes.fromhex(good.trace_id)
    with Segment.open(segment, writable=True) as reader:
        assert reader.clear([id_]) == 0
        wbpf.close()
        assert reader.clear([bytes(15) + b"\7"]) == 0
        assert reader.clear([id_]) == 1
        assert [piece.cleared for piece in Watch(reader).dump() if piece.trace_id == id_] == [True]


def test_levels_of_host_and_trace(segment: Path) -> None:
    with Segment.open(segment, writable=True) as reader:
        with wbpf.trace("quiet") as quiet:
            id_ = bytes.fromhex(quiet.trace_id)
            reader.set_trace_level(id_, Level.FATAL)
            assert not wbpf.enabled("error")
            assert wbpf.enabled("fatal")
        assert wbpf.enabled("trace")
        reader.set_trace_level(id_, 0)
        reader.set_level(17)
        assert not wbpf.enabled("warn")
        reader.set_level(0)
        assert wbpf.enabled("trace")
        for level in ("loud", "17", -1, 300):
            with pytest.raises(ConfigError):
                reader.set_level(level)
        with pytest.raises(SegmentError, match="as many traces as the segment has room for"):
            for i in range(1, 100):
                reader.set_trace_level(i.to_bytes(16, "big"), 9)


@pytest.mark.parametrize("bad", [["x"], [b"short"], [None], [bytes(17)]])
def test_ids_are_16_bytes(segment: Path, bad: list[bytes]) -> None:
    with Segment.open(segment, writable=True) as reader:
        for call in (reader.clear, Watch(reader).add, Watch(reader).remove):
            with pytest.raises(ConfigError, match="is not a trace id"):
                call(bad)


def test_a_closed_segment_says_so(segment: Path) -> None:
    reader = Segment.open(segment)
    watch = Watch(reader)
    reader.close()
    reader.close()
    with pytest.raises(SegmentError, match="it was closed"):
        reader.counters()
    with pytest.raises(SegmentError, match="it was closed"):
        Watch(reader)
    with wbpf.trace("request") as trace:
        pass
    watch.add([bytes.fromhex(trace.trace_id)])
    assert len(watch.poll()[0]) == 1


def test_threads_poll_and_change_a_watch_while_its_segment_is_closed(segment: Path) -> None:
    reader = Segment.open(segment)
    watch = Watch(reader)
    found: dict[int, int] = {}
    failures: list[BaseException] = []
    stop = threading.Event()

    def poll(thread: int) -> None:
        try:
            while not stop.is_set():
                for piece in watch.poll()[0]:
                    assert len(piece.trace_id) == 16
                    found[thread] = found.get(thread, 0) + piece.records
                watch.remove([bytes(15) + bytes([thread + 1])])
        except BaseException as error:  # noqa: BLE001 - the test's own thread reports it
            failures.append(error)

    threads = [threading.Thread(target=poll, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    written = 0
    for i in range(200):
        with wbpf.trace("request") as trace:
            watch.add([bytes.fromhex(trace.trace_id)])
            wbpf.event("e", i=i)
        written += 3
        if i == 100:
            reader.close()
    deadline = time.monotonic() + 10
    while sum(found.values()) < written and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(found.values()) == written


def test_missing_and_unsafe_files_are_refused(tmp_path: Path, segment: Path) -> None:
    with pytest.raises(SegmentError, match="can't be opened") as raised:
        Segment.open(tmp_path / "none.seg")
    assert "wbpf status" in raised.value.hint
    segment.chmod(0o666)
    with pytest.raises(AccessError) as raised_access:
        Segment.open(segment)
    segment.chmod(0o660)
    assert raised_access.value.hint


def test_no_bytes_harm_the_reader(tmp_path: Path, segment: Path) -> None:
    for i in range(20):
        with wbpf.trace(f"t{i}"):
            wbpf.event("e", text="x" * i)
    good = segment.read_bytes()
    generator = random.Random(7)
    path = tmp_path / "bad.seg"
    refused = 0
    for size in (0, 100, 8191, 8192, 100_000, len(good)):
        for _ in range(25):
            data = bytearray(good[:size])
            for _ in range(generator.choice((0, 3, 200)) if size == len(good) else 1):
                if data:
                    data[generator.randrange(min(len(data), generator.choice((300, 9000, len(data)))))] = (
                        generator.randrange(256)
                    )
            path.write_bytes(data)
            path.chmod(0o660)
            try:
                reader = Segment.open(path)
            except FormatError as error:
                assert error.why
                refused += 1
                continue
            with reader:
                reader.schemas()
                reader.counters()
                reader.processes()
                reader.calibrations()
                list(Watch(reader).dump())
    assert refused > 100


def test_doorbell_wakes_and_times_out(tmp_path: Path) -> None:
    folder = tmp_path / "dir" / "host1"
    bell, other = Doorbell(folder), Doorbell(folder)
    word = bell.wait(seen=-1 & 0xFFFFFFFF, timeout_s=1)
    begin = time.monotonic()
    assert bell.wait(word, 0.25) == word
    assert 0.24 < time.monotonic() - begin < 2
    threading.Timer(0.05, other.ring).start()
    begin = time.monotonic()
    assert bell.wait(word, 30) == word + 1
    assert time.monotonic() - begin < 5
    assert bell.wait(word, -1) == word + 1


def test_a_trigger_rings(segment: Path) -> None:
    bell = Doorbell(segment.parent)
    word = bell.wait(0xFFFFFFFF, 0)
    with wbpf.trace("request"):
        wbpf.trigger("slow")
    assert bell.wait(word, 10) == word + 1
    assert segment_in(segment.parent.parent).exists()


def test_ctrl_c_is_heard_while_waiting(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path / "host1")
    word = bell.wait(0xFFFFFFFF, 0)
    sent = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    # Whatever this process was started with, or another test has left.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.3, interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            bell.wait(word, 30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - sent[0] < 1


def test_a_doorbell_that_is_too_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "doorbell").write_bytes(b"\0\0\0\0")
    with pytest.raises(SegmentError, match="too short"):
        Doorbell(tmp_path)
