"""What real daemons call complete is complete, while segments go round and processes and agents are killed.

Far more histories are played through by tests/unit/coordinator/test_completeness.py.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import count

import pytest

from tests.integration.gather.cluster import Application, Cluster
from tests.integration.gather.conftest import Start
from wbpf.records import Status

HOSTS = "abc"
PART = """
def part(context, peer, marks, end):
    parent = TraceContext.from_bytes(bytes.fromhex(context)) if context else None
    scope = wbpf.trace("part", parent=parent)
    scope.__enter__()
    for mark in marks:
        wbpf.event("mark", mark=mark, filler=bytes(mark * 100 % 3000))
    onward = wbpf.send(peer).to_bytes().hex() if peer else ""
    if end:
        scope.__exit__(None, None, None)
    else:
        wbpf.detach()
    return scope.trace_id, onward
def noise(count):
    for _ in range(count):
        with wbpf.trace("noise"):
            wbpf.event("filler", data=bytes(1000))
"""


class History:
    """Requests, and what each of them wrote."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.apps = {host: [self._start(host) for _ in range(2)] for host in HOSTS}
        self.written: dict[str, set[tuple[str, int]]] = {}
        self.killed: Counter[str] = Counter()
        self._marks = count(1)

    def _start(self, host: str) -> Application:
        application = self.cluster.application(host, size_mib=1)
        application.do(PART)
        return application

    def any_app(self) -> Application:
        return self.rng.choice(self.apps[self.rng.choice(HOSTS)])

    def request(self) -> str:
        """A request through a few processes; now and then one dies in the middle of its part."""
        route = [self.any_app() for _ in range(self.rng.randrange(1, 5))]
        context = first = ""
        for here, there in zip(route, [*route[1:], None], strict=True):
            dies = self.rng.random() < 0.03
            marks = [next(self._marks) for _ in range(self.rng.randrange(1, 5))]
            peer = there.host if there else ""
            trace_id, context = here.do(f"result = part({context!r}, {peer!r}, {marks}, {not dies})")
            first = first or trace_id
            self.written.setdefault(first, set()).update((here.host, mark) for mark in marks)
            if dies:
                self.kill(here)
                break
        return first

    def kill(self, application: Application) -> None:
        self.killed["application"] += 1
        application.kill()
        self.apps[application.host].remove(application)
        self.apps[application.host].append(self._start(application.host))

    def step(self) -> str:
        """A request, what else is written, at times an agent's death, and the trigger."""
        trace_id = self.request()
        for _ in range(self.rng.randrange(3)):
            self.any_app().do(f"noise({self.rng.choice((1, 10, 100, 1000))})")
        if self.rng.random() < 0.05:
            self.killed["agent"] += 1
            agent = f"agent {self.rng.choice(HOSTS)}"
            self.cluster.kill(agent)
            self.cluster.tree.restart(agent)
        self.any_app().trigger(trace_id)
        return trace_id


def check(cluster: Cluster, steps: int, seed: int) -> None:
    history = History(cluster, seed)
    ids = [history.step() for _ in range(steps)]
    verdicts: Counter[Status] = Counter()
    lacking = 0
    for trace_id in ids:
        trace = cluster.stored(trace_id, None)
        found = {(record.host, record.fields["mark"]) for record in trace.records if record.name == "mark"}
        missing = history.written[trace_id] - found
        assert not found - history.written[trace_id], "another trace's records"
        assert not (missing and trace.status is Status.COMPLETE), f"{trace_id} is not complete: {missing}"
        verdicts[trace.status] += 1
        lacking += bool(missing)
    assert lacking > 0 and history.killed["agent"] > 0, "nothing was lost"
    assert verdicts[Status.COMPLETE] > steps / 10, verdicts


@pytest.mark.timeout(180)
def test_what_is_called_complete_is(start: Start) -> None:
    check(start("abc"), 50, 3)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_called_complete_is_for_long(start: Start) -> None:
    check(start("abc"), 600, 7)
