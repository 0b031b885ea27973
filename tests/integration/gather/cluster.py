"""Real daemons and real applications of several emulated hosts on this machine."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wbpf.errors import StoreError
from wbpf.records import Status, Trace
from wbpf.store import Store
from wbpf.up import Tree, TreeSpec

#: An application: it runs the code that it is sent and answers with what that left in `result`.
APPLICATION = """
import json, sys, traceback, wbpf
from wbpf import TraceContext
wbpf.open(sys.argv[1], host=sys.argv[2], directory=sys.argv[3], size_mib=int(sys.argv[4]))
space = {"wbpf": wbpf, "TraceContext": TraceContext}
def serve(name, context="", peer=None, events=1, end=True):
    parent = TraceContext.from_bytes(bytes.fromhex(context)) if context else None
    scope = wbpf.trace(name, parent=parent)
    scope.__enter__()
    for number in range(events):
        wbpf.event("work", number=number, host=sys.argv[2])
    onward = wbpf.send(peer or None).to_bytes().hex() if peer is not None else ""
    space["scope"], trace_id = scope, scope.trace_id
    if end:
        scope.__exit__(None, None, None)
    return trace_id, onward
space["serve"] = serve
print("ready", flush=True)
for line in sys.stdin:
    space["result"] = None
    try:
        exec(json.loads(line), space)
        print(json.dumps(space["result"]), flush=True)
    except Exception:
        print(json.dumps({"error": traceback.format_exc()}), flush=True)
"""


class Application:
    """A process of a host that traces what it does."""

    def __init__(self, directory: Path, host: str, service: str = "svc", size_mib: int = 8) -> None:
        self.host = host
        self._process = subprocess.Popen(
            [sys.executable, "-c", APPLICATION, service, host, str(directory), str(size_mib)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, code: str) -> None:
        """Let it run something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(answer["error"])
        return answer

    def do(self, code: str) -> Any:
        """Let it run something and wait for what it leaves in `result`."""
        self.send(code)
        return self.receive()

    def visit(
        self, context: str = "", peer: str | None = None, events: int = 1, end: bool = True
    ) -> tuple[str, str]:
        """Take part in a trace: its id, and the context for the next host."""
        trace_id, onward = self.do(f"result = serve('{self.host}', {context!r}, {peer!r}, {events}, {end})")
        return trace_id, onward

    def trigger(
        self, trace_id: str, name: str = "slow", value: float = 1.5, laterals: list[str] | None = None
    ) -> bool:
        """Fire."""
        fired: bool = self.do(
            f"result = wbpf.trigger({name!r}, {value}, {laterals or []!r}, trace_id={trace_id!r})"
        )
        return fired

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()


class Cluster:
    """Daemons, applications, and the store."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.applications: list[Application] = []

    def application(self, host: str, service: str = "svc", size_mib: int = 8) -> Application:
        application = Application(self.tree.directory, host, service, size_mib)
        self.applications.append(application)
        return application

    def chain(self, hosts: str, events: int = 3) -> tuple[str, list[Application]]:
        """One request through hosts, one after another; every part of it has ended."""
        applications = [self.application(host) for host in hosts]
        return self.request(applications, events), applications

    @staticmethod
    def request(applications: list[Application], events: int = 3) -> str:
        context, first = "", ""
        for here, there in zip(applications, [*applications[1:], None], strict=True):
            trace_id, context = here.visit(context, there.host if there else None, events)
            first = first or trace_id
        return first

    def stored(self, trace_id: str, status: Status | None = Status.COMPLETE, within_s: float = 20) -> Trace:
        """Wait until a trace's gather has concluded (like that) and return it."""
        found = None
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            found = self.find(trace_id)
            if found is not None and status in (None, found.status):
                return found
            time.sleep(0.02)
        why = [(part.name, part.status, part.reasons) for part in found.hosts] if found else "not stored"
        raise AssertionError(f"{trace_id} is not {status}: {why}")

    def find(self, trace_id: str) -> Trace | None:
        """The trace, if its gather has concluded."""
        try:
            with Store.open(self.tree.store, readonly=True) as store:
                trace = store.trace(bytes.fromhex(trace_id))
        except StoreError:
            return None
        return trace if trace.concluded_unix_ns else None

    def count(self) -> int:
        with Store.open(self.tree.store, readonly=True) as store:
            return sum(1 for summary in store.traces() if summary.concluded_unix_ns)

    def until(self, condition: Callable[[], Any], what: str, within_s: float = 20) -> Any:
        """Wait until something holds."""
        end_s = time.monotonic() + within_s
        while not (held := condition()):
            assert time.monotonic() < end_s, f"waited too long for {what}"
            time.sleep(0.02)
        return held

    def kill(self, name: str) -> None:
        """SIGKILL a daemon."""
        self.tree.children[name].kill()

    def pause(self, name: str) -> None:
        self.tree.children[name].signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.tree.children[name].signal(signal.SIGCONT)


@contextmanager
def running(
    store: Path, hosts: str, make: Callable[[TreeSpec], Tree] = Tree, **spec: Any
) -> Iterator[Cluster]:
    """A cluster whose agents have attached."""
    directory = Path(tempfile.mkdtemp(prefix="wbpf-test-", dir="/dev/shm"))
    addresses = {"coordinator": "127.0.0.1:0", "collector": "127.0.0.1:0"}
    tree = make(TreeSpec(hosts=list(hosts), directory=directory, store=store, **{**addresses, **spec}))
    cluster = Cluster(tree)
    try:
        with tree:
            tree.wait_until_attached()
            try:
                yield cluster
            finally:
                for application in cluster.applications:
                    application.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
