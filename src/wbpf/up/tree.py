"""A coordinator, a collector and an agent a host, as child processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wbpf.agent import AgentSpec, TriggerLimit
from wbpf.collector import CollectorSpec
from wbpf.coordinator import CoordinatorSpec
from wbpf.envvars import DIR, HOST
from wbpf.errors import WbpfError, WireError
from wbpf.store import default_path
from wbpf.wire import COLLECTOR_ADDRESS, COORDINATOR_ADDRESS, Client, TlsSpec
from wbpf.wire import status_pb2 as st
from wbpf.wire.child import dump_spec
from wbpf.wire.names import checked_hosts

READY_S = 30.0
STOP_S = 5.0


@dataclass(frozen=True)
class TreeSpec:
    """What runs on this machine.

    Args:
        hosts: names; each gets an agent for the folder of that name. More than one emulates a cluster.
        directory: of the hosts' folders; None: `$WBPF_DIR`.
        store: of the collector; None: the user's own.
        coordinator, collector: addresses; port 0 takes a free one.
        tls: for all of them.
        limits: of triggers, for every agent.
        log_level: of the daemons, which log to this process's standard error, or to `logs`.
        logs: a folder; a file for each daemon is made there.
        options: more fields of the daemons' specs, by daemon: `{"coordinator": {"retain_s": 5}}`.
    """

    hosts: Sequence[str] = ()
    directory: Path | None = None
    store: Path | None = None
    coordinator: str = COORDINATOR_ADDRESS
    collector: str = COLLECTOR_ADDRESS
    tls: TlsSpec | None = None
    limits: Mapping[str, TriggerLimit] = field(default_factory=dict)
    log_level: str = "warning"
    logs: Path | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Child:
    """One daemon.

    Args:
        name: `coordinator`, `collector`, or `agent HOST`.
        module: that is run.
    """

    def __init__(self, name: str, module: str, logs: Path | None) -> None:
        self.name = name
        self.module = module
        self.facts: dict[str, Any] = {}
        self.spec: Any = None
        self.log = None if logs is None else logs / f"{name.replace(' ', '-')}.log"
        log = self.log.open("ab") if self.log else None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A Ctrl-C in the terminal goes to the parent alone, which stops its children in order.
                start_new_session=True,
            )
        finally:
            if log is not None:
                log.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def ending(self) -> str:
        """How it ended: `status 3`, `killed by SIGKILL`."""
        status = self.returncode
        if status is None or status >= 0:
            return f"status {status}"
        try:
            return f"killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"killed by signal {-status}"

    def hint(self) -> str:
        """Where to look for the cause of its end."""
        if self.returncode == -signal.SIGKILL:
            return "ask who killed it; `dmesg` says whether memory ran out"
        return f"see {self.log}" if self.log else "see what it wrote above"

    def tell(self, spec: Any, log_level: str) -> None:
        """Tell it what to be."""
        self.spec = spec
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # wait_until_ready tells
            self._process.stdin.write(dump_spec(spec, log_level).encode() + b"\n")
            self._process.stdin.flush()

    def wait_until_ready(self, within_s: float = READY_S) -> None:
        """Wait until it works.

        Raises:
            WbpfError: it does not.
        """
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], within_s)
        line = output.readline() if ready else b""
        if not line:
            with suppress(subprocess.TimeoutExpired):  # what it wrote last is read before it has ended
                self._process.wait(0.0 if not ready else STOP_S)
            ended = self.returncode is not None
            why = f"it ended: {self.ending()}" if ended else f"no answer within {within_s:g} s"
            raise WireError(f"{self.name} did not start", why, self.hint())
        self.facts = json.loads(line)
        if "error" in self.facts:
            what, why, hint = self.facts["error"]
            error = WbpfError(f"{self.name}: {what}", why, hint)
            error.exit_code = self.facts["exit_code"]
            raise error

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it and wait for its end."""
        self._process.kill()
        self._process.wait()

    def stop(self, within_s: float = STOP_S) -> int:
        """Ask it to end, wait, and in the end make it; returns its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Tree:
    """The daemons of a spec, for `with`. They end with this process, however that ends.

    Raises:
        ConfigError: a host's name can't be one, or is there twice.
    """

    def __init__(self, spec: TreeSpec) -> None:
        self.spec = spec
        self.directory = spec.directory or DIR.read()
        self.store = spec.store or default_path()
        self.hosts = checked_hosts(spec.hosts or (HOST.read(),))
        self.children: dict[str, Child] = {}
        self._client: Client | None = None

    def start(self) -> Self:
        """Start all and wait until they work.

        Raises:
            WbpfError: one does not; none runs then.
        """
        try:
            for name in ("collector", "coordinator", *(f"agent {host}" for host in self.hosts)):
                self._spawn(name)
            # All import at the same time; each is told what to be as soon as the addresses are known.
            self._tell("collector")
            self.children["collector"].wait_until_ready()
            self._tell("coordinator")
            self.children["coordinator"].wait_until_ready()
            for host in self.hosts:
                self._tell(f"agent {host}")
            for host in self.hosts:
                self.children[f"agent {host}"].wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def _spawn(self, name: str) -> None:
        kind = name.partition(" ")[0]
        self.children[name] = Child(name, f"wbpf.{kind}", self.spec.logs)

    def _tell(self, name: str) -> None:
        self.children[name].tell(self._spec_of(name), self.spec.log_level)

    def _spec_of(self, name: str) -> Any:
        spec = self.spec
        kind, _, host = name.partition(" ")
        options = spec.options.get(kind, {})
        facts: dict[str, Any] = {"tls": spec.tls}
        if kind == "collector":
            facts.update(address=self._known("collector") or spec.collector, store=self.store)
            return CollectorSpec(**{**facts, **options})
        facts.update(collector=self.collector_address)
        if kind == "coordinator":
            facts.update(address=self._known("coordinator") or spec.coordinator)
            return CoordinatorSpec(**{**facts, **options})
        facts.update(host=host, directory=self.directory, coordinator=self.coordinator_address)
        return AgentSpec(**{**facts, "limits": dict(spec.limits), **options})

    def _known(self, name: str) -> str:
        """The address that a daemon had before it was restarted."""
        child = self.children.get(name)
        return str(child.facts.get("address", "")) if child else ""

    @property
    def coordinator_address(self) -> str:
        return str(self.children["coordinator"].facts["address"])

    @property
    def collector_address(self) -> str:
        return str(self.children["collector"].facts["address"])

    def restart(self, name: str) -> Child:
        """Start a daemon that has ended once more, at the address it had.

        Raises:
            WbpfError: it does not work.
        """
        facts = self.children[name].facts
        self.children[name].stop(0)
        self._spawn(name)
        self.children[name].facts = facts
        self._tell(name)
        self.children[name].wait_until_ready()
        return self.children[name]

    def client(self) -> Client:
        """A connection to the coordinator, closed with the tree."""
        if self._client is None:
            self._client = Client(self.coordinator_address, self.spec.tls)
        return self._client

    def status(self) -> st.ClusterStatus:
        """What all daemons say of themselves.

        Raises:
            WireError: the coordinator does not answer.
        """
        return self.client().status()

    def wait_until_attached(self, within_s: float = READY_S) -> None:
        """Wait until every agent has reached the coordinator and the collector, and clocks were compared.

        Raises:
            WireError: it takes longer than that.
        """
        end_s = time.monotonic() + within_s
        while True:
            status = self.status()
            attached = [
                host.host
                for host in status.hosts
                if host.connected and host.uncertainty_ns and host.agent.collector_connected
            ]
            missing = sorted(set(self.hosts) - set(attached))
            if not missing and status.coordinator.collector_connected:
                return
            if time.monotonic() > end_s:
                raise WireError("not all daemons have found each other", f"missing: {', '.join(missing)}")
            time.sleep(0.02)

    def ended(self) -> list[Child]:
        """Daemons that have ended by themselves."""
        return [child for child in self.children.values() if child.returncode is not None]

    def facts(self) -> dict[str, Any]:
        """Addresses, paths and process ids, for programs."""
        return {
            "pid": os.getpid(),
            "coordinator": self.coordinator_address,
            "collector": self.collector_address,
            "store": str(self.store),
            "directory": str(self.directory),
            "hosts": list(self.hosts),
            "pids": {name: child.pid for name, child in self.children.items()},
        }

    def stop(self) -> None:
        """Stop all: agents first, so that what they have still gets to the store."""
        if self._client is not None:
            self._client.close()
            self._client = None
        agents = [child for name, child in self.children.items() if name.startswith("agent")]
        for child in agents:
            if child.returncode is None:
                child.signal(signal.SIGTERM)
        for child in agents:
            child.stop()
        for name in ("coordinator", "collector"):
            if name in self.children:
                self.children[name].stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
