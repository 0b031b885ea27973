"""One run of the demo, from the data to the score."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from wbpf.demo import data, groupby, plan
from wbpf.demo.driver import Driver
from wbpf.demo.gathering import Gathering
from wbpf.demo.injector import FaultLog, choose
from wbpf.demo.messages import WorkerSpec
from wbpf.demo.process import HostProcess
from wbpf.demo.result import DemoResult, DemoSpec, Kill
from wbpf.demo.score import score_files
from wbpf.pool import Pool

#: Size of each host's segment: at the demo's rate a horizon of ten seconds or more.
SEGMENT_MIB = 16
POOL_BYTES = 32 << 20


def run(spec: DemoSpec, progress: Callable[[int], None]) -> DemoResult:
    """Run the job with faults, gather what was triggered, and score it.

    Args:
        spec: what to run.
        progress: called with the number of requests done.

    Raises:
        ConfigError: the data are not installed, or can't be cut as asked.
        WbpfError: a part could not be started.
    """
    source = data.read()
    names, tables = data.encode(source)
    carriers = tables.flights["carrier"]
    owners = plan.owners(carriers, spec.hosts)
    requests = plan.requests(carriers, owners, spec.hosts, spec.requests)
    with ExitStack() as stack:
        shared = stack.enter_context(_shared_memory())
        tables.save(shared)
        gathering = stack.enter_context(Gathering(spec, shared / "segments"))
        pool = Pool.create(str(shared / "pool"), POOL_BYTES, hosts=spec.host_names, seed=spec.seed)
        stack.enter_context(pool)
        worker = WorkerSpec(
            host="",
            hosts=spec.host_names,
            pool=str(pool.path),
            tables=str(shared),
            owners=tuple(owners.tolist()),
            names=names,
            segment_mib=SEGMENT_MIB,
        )
        hosts = []
        for name in spec.host_names:
            hosts.append(HostProcess(replace(worker, host=name), spec.directory, gathering.environment))
            stack.callback(hosts[-1].close)
        log = stack.enter_context(FaultLog(spec.faults))
        faults = choose(spec.seed, spec.requests, spec.fault_rate)
        driver = Driver(hosts, owners, faults, log, progress)
        if spec.kill:
            driver.progress = _killing(spec, driver, gathering, log, progress)
        answer = groupby.reference(source, names)
        stream = driver.run(requests)
        unfinished = gathering.wait_for(stream.triggered)
        shipped = gathering.bytes_shipped()
        gathering.export()
    virtual_ns = {
        spec.host_names[number]: finished.virtual_ns for number, finished in stream.finished.items()
    }
    totals = sum((finished.totals for finished in stream.finished.values()), groupby.empty(names))
    costs = [finished.cost for finished in stream.finished.values()]
    return DemoResult(
        spec=spec,
        score=score_files(spec.faults, spec.traces),
        records=sum(cost.records for cost in costs),
        bytes_recorded=sum(cost.bytes for cost in costs),
        bytes_shipped=shipped,
        recording_s=sum(cost.recording_s for cost in costs),
        cpu_s=sum(cost.cpu_s for cost in costs),
        answer_correct=bool(np.array_equal(totals, answer)),
        seconds=stream.seconds,
        virtual_ns=virtual_ns,
        lost=len(stream.lost),
        dead=tuple(spec.host_names[number] for number in stream.dead),
        unfinished=len(unfinished),
    )


@contextmanager
def _shared_memory() -> Iterator[Path]:
    """A directory in memory that goes away with the run."""
    directory = Path(tempfile.mkdtemp(prefix="wbpf-demo-", dir="/dev/shm"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _killing(
    spec: DemoSpec, driver: Driver, gathering: Gathering, log: FaultLog, progress: Callable[[int], None]
) -> Callable[[int], None]:
    """Kill what is to be killed when half of the requests are done."""
    victim = spec.hosts - 1
    name = spec.host_names[victim]

    def kill_and_progress(done: int) -> None:
        if done == spec.requests // 2 and spec.kill:
            log.write_kill(spec.kill, name, done)
            if spec.kill is not Kill.WRITER:
                gathering.kill_agent(name)
            if spec.kill in (Kill.WRITER, Kill.HOST):
                driver.doomed = victim
        if done == spec.requests * 3 // 4 and spec.kill is Kill.AGENT_RESTARTED:
            gathering.restart_agent(name)
        progress(done)

    return kill_and_progress
