"""One writer and readers in processes of their own; a writer that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.unit.records.cluster import TRACE_ID, conclusion, sources, trace
from tests.unit.store.filling import fill, put_sources
from wbpf.store import Store

WRITER = """
import sys
from tests.unit.records.cluster import conclusion, sources
from tests.unit.store.filling import fill, put_sources
from wbpf.store import Store

store = Store.open(sys.argv[1])
fill(store, ["aa"])
print("committed", flush=True)
with store.batch():
    put_sources(store, sources())
    store.conclude(conclusion())
    print("in the batch", flush=True)
    sys.stdin.read()
"""

READER = """
import sys
from wbpf.store import Store

with Store.open(sys.argv[1], readonly=True) as store:
    print("ready", flush=True)
    most = rounds = 0
    while most < int(sys.argv[2]):
        summaries = list(store.traces())
        assert len(summaries) >= most
        most = len(summaries)
        for summary in summaries[:3]:
            gathered = store.trace(summary.trace_id)
            assert summary.concluded_unix_ns and len(gathered.records) == summary.records == 3
        rounds += 1
    print(rounds)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def test_a_writer_killed_in_a_batch_loses_that_batch_alone(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    writer = start(WRITER, path)
    assert writer.stdout
    assert [writer.stdout.readline() for _ in range(2)] == ["committed\n", "in the batch\n"]
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    with Store.open(path) as store:
        assert [summary.id[:2] for summary in store.traces()] == ["aa"]
        # What was not acknowledged comes again.
        put_sources(store, sources())
        store.conclude(conclusion())
        assert store.trace(TRACE_ID) == trace()


def test_readers_see_whole_batches_while_one_writes(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    with Store.open(path) as store:
        readers = [start(READER, path, 60) for _ in range(3)]
        for reader in readers:
            assert reader.stdout and reader.stdout.readline() == "ready\n"
        for i in range(30):
            fill(store, [f"{i:04x}a", f"{i:04x}b"])
            time.sleep(0.01)
    for reader in readers:
        output, _ = reader.communicate(timeout=60)
        assert reader.returncode == 0 and int(output) > 1


def test_threads_share_a_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "traces.db") as store:
        failed: list[BaseException] = []

        def write(thread: int) -> None:
            try:
                for i in range(20):
                    fill(store, [f"{thread:02x}{i:02x}"])
                    assert any(summary.id.startswith(f"{thread:02x}{i:02x}") for summary in store.traces())
            except BaseException as error:  # noqa: BLE001 - told to the test's thread
                failed.append(error)

        threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(list(store.traces())) == 80
