"""A whole host is killed, applications, agent and memory: what it had flushed to the pool is gathered."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.gather.cluster import Application, Cluster
from tests.integration.gather.conftest import Start
from wbpf.cli import main
from wbpf.pool import Pool
from wbpf.pooled import recover, regions
from wbpf.recorder import Segment, Watch
from wbpf.records import Schema, Status, Trace, decode_run, host_id

PAGE = Path(__file__).parents[3] / "docs/operating.md"
EVENTS = 6
NEVER_US = 3_600_000_000
FLUSHED = "this was flushed before the end"
UNFLUSHED = "this came after the last flush"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    path = Path("/dev/shm") / f"wbpf-test-dead-{tmp_path.parent.name}-{tmp_path.name}"
    with Pool.create(path, 96 << 20, hosts=("a", "b", "c")) as made:
        try:
            yield made
        finally:
            made.unlink()


def options(pool: Pool, every_us: int = 10_000) -> dict[str, object]:
    flush = {"region_bytes": 24 << 20, "every_us": every_us, "every_kib": 0}
    return {"agent": {"pool": pool.path, "flush": flush}}


def segments_of(cluster: Cluster, host: str) -> list[Path]:
    return sorted((cluster.tree.directory / host).glob("*.seg"))


def kill_host(cluster: Cluster, host: str) -> None:
    """SIGKILL all processes of a host; what it had in its own memory goes with it."""
    for application in cluster.applications:
        if application.host == host:
            application.kill()
    cluster.kill(f"agent {host}")
    shutil.rmtree(cluster.tree.directory / host)
    cache = Path(f"{cluster.tree.spec.options['agent']['pool']}.{host}")
    cache.write_bytes(b"")


def wait_for_flush(pool: Pool, text: str) -> None:
    end_s = time.monotonic() + 10
    while text.encode() not in pool.path.read_bytes():
        assert time.monotonic() < end_s, "it was never flushed"
        time.sleep(0.02)


def events_of(trace: Trace, host: str) -> list[object]:
    return [r.fields["number"] for r in trace.records if r.host == host and r.name == "work"]


def visit(cluster: Cluster, text: str) -> tuple[str, list[Application]]:
    """A request from a to b and on to c; b says something in it, too."""
    apps = [cluster.application(host) for host in "abc"]
    trace_id, to_b = apps[0].visit("", "b", EVENTS)
    _, to_c = apps[1].visit(to_b, "c", EVENTS, end=False)
    apps[1].do(f"wbpf.log({text!r}); scope.__exit__(None, None, None); result = None")
    apps[2].visit(to_c, None, EVENTS)
    return trace_id, apps


def test_what_was_flushed_is_gathered_and_labelled(
    start: Start, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = start("abc", options=options(pool))
    trace_id, apps = visit(cluster, FLUSHED)
    wait_for_flush(pool, FLUSHED)
    kill_host(cluster, "b")
    assert apps[0].trigger(trace_id)
    trace = cluster.stored(trace_id, None)
    parts = {part.name: part for part in trace.hosts}
    assert {name: part.status for name, part in parts.items()} == {
        "a": Status.COMPLETE,
        "b": Status.PARTIAL,
        "c": Status.COMPLETE,
    }
    (reason,) = parts["b"].reasons
    assert reason.startswith("host b died at ")
    assert "; read from the pool by " in reason and ": flushed up to " in reason
    # All that it had recorded is there, once, and in its place.
    for host in "abc":
        assert events_of(trace, host) == list(range(EVENTS))
    assert main(["traces", "show", trace_id, "--store", str(cluster.tree.store)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "b partial" in shown and "host b died at " in shown and "flushed up to" in shown
    assert [r.host for r in trace.records if r.fields.get("message") == FLUSHED] == ["b"]
    assert len(trace.edges) == 2 and all(edge.sent and edge.received for edge in trace.edges)


def test_what_was_not_flushed_is_lost(start: Start, pool: Pool) -> None:
    """The control: the same host, the same death, no flush after the first."""
    cluster = start("abc", options=options(pool, NEVER_US))
    cluster.application("b")
    with pool.join("a") as member:
        cluster.until(lambda: regions(member, host_id("b")), "the first flush")
    trace_id, apps = visit(cluster, UNFLUSHED)
    in_memory = b"".join(path.read_bytes() for path in segments_of(cluster, "b"))
    assert UNFLUSHED.encode() in in_memory
    assert UNFLUSHED.encode() not in pool.path.read_bytes()
    kill_host(cluster, "b")
    assert apps[0].trigger(trace_id)
    trace = cluster.stored(trace_id, None)
    assert events_of(trace, "a") == events_of(trace, "c") == list(range(EVENTS))
    assert events_of(trace, "b") == []
    assert trace.status is not Status.COMPLETE


def events_in(segment: Segment, trace_id: str) -> list[dict[str, Any]]:
    """Fields of the trace's events."""
    schemas = {schema_id: Schema.parse(text) for schema_id, text in segment.schemas()[1]}
    watch = Watch(segment)
    watch.add([bytes.fromhex(trace_id)])
    records = [record for piece in watch.poll()[0] for record in decode_run(piece.data, schemas)]
    return [record.fields for record in records if record.name == "work"]


def numbers_in(segment: Segment, trace_id: str) -> dict[int, int]:
    """Number → when it was recorded, by the application's own clock."""
    return {fields["number"]: fields["at"] for fields in events_in(segment, trace_id)}


ENDLESS = """
import threading, time
def work():
    number = 0
    with wbpf.trace("endless") as scope:
        globals()["endless"] = scope.trace_id
        while True:
            wbpf.event("work", number=number, at=time.time_ns(), filler="x" * (number % 300))
            number += 1
            if number % 50 == 0:
                time.sleep(0.001)
threading.Thread(target=work, daemon=True).start()
while "endless" not in globals():
    time.sleep(0.01)
result = endless
"""


@pytest.mark.parametrize("delay_s", [0.15, pytest.param(0.4, marks=pytest.mark.slow)])
def test_killed_while_it_records(start: Start, pool: Pool, delay_s: float) -> None:
    """The flusher is cut off wherever it is: all from before its last round is there, nothing is torn."""
    cluster = start("ab", options=options(pool, 1000))
    survivor, victim = cluster.application("a"), cluster.application("b", size_mib=32)
    trace_id = victim.do(ENDLESS)
    time.sleep(delay_s)
    (path,) = segments_of(cluster, "b")
    with Segment.open(path) as segment, pool.join("a") as member:
        cluster.kill("agent b")
        victim.kill()
        truth = numbers_in(segment, trace_id)
        recovered, faults = recover(member, host_id("b"))
        (flushed,) = recovered.values()
        there = numbers_in(flushed.segment, trace_id)
    kill_host(cluster, "b")
    assert faults == [] and len(truth) > 1000
    before = {number for number, at in truth.items() if at < flushed.flushed_unix_ns - 1_000_000}
    assert len(before) > 500 and before <= set(there)
    assert there == {number: truth[number] for number in there}
    assert survivor.trigger(trace_id)
    trace = cluster.stored(trace_id, None)
    gathered = [record.fields["number"] for record in trace.records if record.name == "work"]
    assert sorted(gathered) == sorted(there), "each once"
    (part,) = trace.hosts
    assert part.status is Status.PARTIAL and "host b died at " in part.reasons[0]
    assert any("died inside a span" in reason for reason in part.reasons)


def test_an_agent_that_comes_back_completes_it(start: Start, pool: Pool) -> None:
    cluster = start("abc", options=options(pool))
    trace_id, apps = visit(cluster, FLUSHED)
    wait_for_flush(pool, FLUSHED)
    cluster.kill("agent b")
    assert apps[0].trigger(trace_id)
    trace = cluster.stored(trace_id, Status.PARTIAL)
    assert events_of(trace, "b") == list(range(EVENTS)), "read in the pool meanwhile"
    with pool.join("a") as member:
        before = regions(member, host_id("b"))
        cluster.tree.restart("agent b")
        trace = cluster.stored(trace_id, Status.COMPLETE)
        for host in "abc":
            assert events_of(trace, host) == list(range(EVENTS))
        cluster.until(lambda: regions(member, host_id("b")) != before, "a region of its own")
        cluster.until(lambda: len(regions(member, host_id("b"))) == 1, "the earlier agent's region to go")


def test_damage_in_the_pool_is_told(start: Start, pool: Pool) -> None:
    cluster = start("abc", options=options(pool))
    trace_id, apps = visit(cluster, FLUSHED)
    wait_for_flush(pool, FLUSHED)
    kill_host(cluster, "b")
    memory = pool.path.read_bytes()
    with pool.path.open("r+b") as file:
        for found in re.finditer(b"wBPPREG1", memory):
            file.seek(found.start() + 64)
            file.write(bytes(range(256)) * 15)
    assert apps[0].trigger(trace_id)
    trace = cluster.stored(trace_id, None)
    assert events_of(trace, "b") == []
    (part,) = [part for part in trace.hosts if part.name == "b"]
    assert part.status is Status.PARTIAL
    assert "nothing was ever flushed to it wholly" in " ".join(part.reasons)
    assert [h.host for h in cluster.tree.status().hosts if h.connected] == ["a", "c"], "nobody crashed"


def test_the_command_in_the_docs(start: Start, pool: Pool, tmp_path: Path) -> None:
    (command,) = re.findall(r"^\$ wbpf (agent --pool .*)$", PAGE.read_text(), re.MULTILINE)
    cluster = start("a", options=options(pool))
    addresses = (
        "--coordinator",
        cluster.tree.coordinator_address,
        "--collector",
        cluster.tree.collector_address,
    )
    where = "--host", "b", "--dir", str(cluster.tree.directory), "--ready-file", str(tmp_path / "ready")
    words = command.replace("/dev/shm/cluster-pool", str(pool.path)).split()
    agent = subprocess.Popen(
        [sys.executable, "-m", "wbpf.cli", *words, *addresses, *where],
        env={**os.environ, "WBPF_POOL_MB": "4", "WBPF_FLUSH_US": "1000"},
    )
    try:
        trace_id, _ = cluster.application("b").visit(events=EVENTS)

        def flushed() -> bool:
            with pool.join("a") as member:
                found, _ = recover(member, host_id("b"))
                return any(len(numbers_of(one.segment, trace_id)) == EVENTS for one in found.values())

        cluster.until(flushed, "the trace to be flushed")
        agent.terminate()
        assert agent.wait(10) == 0
    finally:
        agent.kill()
        agent.wait()


def numbers_of(segment: Segment, trace_id: str) -> list[object]:
    return [fields["number"] for fields in events_in(segment, trace_id)]
