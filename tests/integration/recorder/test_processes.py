"""Processes that share a segment, fork, and die."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.recorder.running import run, start
from tests.unit.recorder.reading import events, kinds, read_trace, segment_in, source_of, trace_ids
from wbpf.recorder import Segment, Watch
from wbpf.records import decode_run, parse_schemas
from wbpf.records.layout import Kind


def test_processes_share_a_segment(tmp_path: Path) -> None:
    program = """
        print("ready", flush=True)
        input()
        mine = {}
        for i in range(1500):
            with wbpf.trace("request", i=i) as trace:
                for step in range(i % 5):
                    wbpf.event("step", pid=os.getpid(), i=i, step=step)
            mine[trace.trace_id] = i
        print(json.dumps([os.getpid(), mine]))
    """
    processes = [start(program, tmp_path) for _ in range(3)]
    path = segment_in(tmp_path)
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    written = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    source = source_of(path)
    schemas = parse_schemas(source.descriptors)
    expected = {trace_id: (pid, i) for pid, mine in written for trace_id, i in mine.items()}
    assert len(expected) == 4500
    seen: Counter[str] = Counter()
    for piece in source.pieces:
        pid, i = expected[piece.trace_id.hex()]
        assert piece.pid == pid
        for record in decode_run(piece.data, schemas):
            if record.name == "step":
                assert (record.fields["pid"], record.fields["i"]) == (pid, i)
                seen[piece.trace_id.hex()] += 1
    assert seen == Counter({trace_id: i % 5 for trace_id, (_, i) in expected.items() if i % 5})


@pytest.mark.parametrize("round_", range(3))
def test_sigkill_loses_nothing_that_was_published(tmp_path: Path, round_: int) -> None:
    process = start(
        """
        done = [0] * 3

        def work(thread):
            with wbpf.trace("endless", thread=thread):
                while True:
                    wbpf.event("count", thread=thread, n=done[thread])
                    done[thread] += 1
                    if done[thread] == 40_000:
                        time.sleep(60)
                    if done[thread] % 50 == 0:
                        time.sleep(0.0002)

        for i in range(3):
            threading.Thread(target=work, args=(i,), daemon=True).start()
        while True:
            print(*done, flush=True)
        """,
        tmp_path,
    )
    assert process.stdout is not None
    said = [0]
    while min(said) < 3000 * (round_ + 1):
        said = [int(word) for word in process.stdout.readline().split()]
    process.send_signal(signal.SIGKILL)
    whole_lines = process.stdout.read().rpartition("\n")[0].splitlines()
    said = [int(word) for word in whole_lines[-1].split()] if whole_lines else said
    process.wait(30)
    assert process.returncode == -signal.SIGKILL
    path = segment_in(tmp_path)
    with Segment.open(path) as segment:
        assert [one.alive for one in segment.processes()] == [False]
        assert segment.counters().lost_until_ticks == 0
    found = {}
    for trace_id in trace_ids(path):
        trace = read_trace(path, trace_id)
        (root,) = trace.roots
        assert root.end_unix_ns is None
        numbers = [record.fields["n"] for record in events(trace)]
        assert numbers == list(range(len(numbers)))
        found[root.attributes["thread"]] = len(numbers)
    for thread, count in enumerate(said):
        assert 40_000 >= found[thread] >= count > 0
    assert min(found.values()) < 40_000  # it was killed while it wrote
    run('with wbpf.trace("next"): wbpf.event("alive")', tmp_path)
    assert len(trace_ids(path)) == 4


def test_a_fork_inside_a_trace(tmp_path: Path) -> None:
    out = run(
        """
        with wbpf.trace("request") as trace:
            wbpf.event("before", pid=os.getpid())
            try:
                with wbpf.span("working"):
                    child = os.fork()
                    if child == 0:
                        wbpf.event("in.child", pid=os.getpid())
                        with wbpf.span("child.span"):
                            wbpf.log("deep in the child")
                    else:
                        os.waitpid(child, 0)
                        wbpf.event("after", pid=os.getpid())
            finally:
                if child == 0:
                    trace.__exit__(None, None, None)
                    with wbpf.trace("own"):
                        wbpf.event("own", pid=os.getpid())
                    os._exit(0)
        wbpf.event("outside")
        print(json.dumps([trace.trace_id, os.getpid(), child]))
        """,
        tmp_path,
    )
    trace_id, parent, child = json.loads(out)
    trace = read_trace(segment_in(tmp_path), trace_id)
    assert [
        (record.name, record.fields["pid"]) for record in sorted(events(trace), key=lambda r: r.time_unix_ns)
    ] == [
        ("before", parent),
        ("in.child", child),
        ("after", parent),
    ]
    assert all(record.fields["pid"] == record.pid for record in events(trace))
    assert Counter(kinds(trace))["end"] == Counter(kinds(trace))["begin"] == 1
    assert Counter(kinds(trace))["span_end"] == 2
    names = {span.span_id: span.name for _, span in trace.spans()}
    assert {record.name: names[record.span_id] for record in events(trace)} == {
        "before": "request",
        "in.child": "working",
        "after": "working",
    }
    path = segment_in(tmp_path)
    (own,) = (read_trace(path, id_) for id_ in trace_ids(path) if id_.hex() != trace_id)
    assert [record.pid for record in events(own)] == [child]


def test_forks_while_other_threads_record(tmp_path: Path) -> None:
    out = run(
        """
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                with wbpf.trace("parent"):
                    wbpf.event("who", pid=os.getpid())
                time.sleep(0.0002)

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                for _ in range(50):
                    with wbpf.trace("child"):
                        wbpf.event("who", pid=os.getpid())
                os._exit(0)
            children.append(pid)
            time.sleep(0.005)
        for pid in children:
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        print(json.dumps([os.getpid(), children]))
        """,
        tmp_path,
        size_mib=64,
    )
    parent, children = json.loads(out)
    source = source_of(segment_in(tmp_path))
    schemas = parse_schemas(source.descriptors)
    by_pid: Counter[int] = Counter()
    for piece in source.pieces:
        records = decode_run(piece.data, schemas)
        writers = {record.fields["pid"] for record in records if record.name == "who"}
        assert len(writers) <= 1
        assert {record.name for record in records if record.kind == Kind.BEGIN} <= (
            {"parent"} if writers == {parent} else {"child"} if writers else {"parent", "child"}
        )
        by_pid.update(int(record.fields["pid"]) for record in records if record.name == "who")
    assert all(by_pid[child] == 50 for child in children)
    assert by_pid.keys() == {parent, *children}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    module = tmp_path / "workers.py"
    module.write_text(
        """
import os
import wbpf


def start():
    wbpf.open()


def work(arguments):
    context, n = arguments
    with wbpf.trace("work", context, n=n):
        wbpf.event("pid", n=n, pid=os.getpid())
    return os.getpid()
"""
    )
    out = run(
        f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import multiprocessing, workers
        with wbpf.trace("all") as trace:
            with multiprocessing.get_context("{method}").Pool(2, initializer=workers.start) as pool:
                pids = pool.map(workers.work, [(trace.context, n) for n in range(20)], chunksize=1)
        print(json.dumps([trace.trace_id, pids]))
        """,
        tmp_path,
    )
    trace_id, pids = json.loads(out)
    trace = read_trace(segment_in(tmp_path), trace_id)
    assert sorted((r.fields["n"], r.fields["pid"], r.pid) for r in events(trace)) == [
        (n, pid, pid) for n, pid in enumerate(pids)
    ]
    (root,) = trace.roots
    assert [child.name for child in root.children] == ["work"] * 20
    assert all(span.end_unix_ns is not None for _, span in trace.spans())


def test_a_reader_follows_a_live_writer(tmp_path: Path) -> None:
    process = start(
        """
        with wbpf.trace("long") as trace:
            print(trace.trace_id, flush=True)
            for n in range(20_000):
                wbpf.event("count", n=n)
                if n % 100 == 0:
                    time.sleep(0.0005)
                if n % 5_000 == 4_999:
                    input()  # until the reader has seen something
        """,
        tmp_path,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    wanted = bytes.fromhex(process.stdout.readline().strip())
    numbers: list[int] = []
    polls = 0
    with Segment.open(segment_in(tmp_path)) as segment:
        watch = Watch(segment)
        watch.add([wanted])
        ends = 0
        deadline = time.monotonic() + 30
        while not ends and time.monotonic() < deadline:
            pieces, lost_until = watch.poll()
            assert lost_until == 0
            schemas = parse_schemas(dict(segment.schemas()[1]))
            for piece in pieces:
                ends += piece.ends
                numbers += [int(r.fields["n"]) for r in decode_run(piece.data, schemas) if r.name == "count"]
            if pieces and polls < 4:
                print(file=process.stdin, flush=True)
            polls += bool(pieces)
    process.communicate(timeout=30)
    # The end of a chunk may come with a later poll than the beginning of the next.
    assert sorted(numbers) == list(range(20_000))
    assert polls >= 4
