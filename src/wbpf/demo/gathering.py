"""The daemons of the demo's hosts, and what they gather."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from wbpf.demo.result import DemoSpec
from wbpf.export import export
from wbpf.store import Store
from wbpf.up import Tree, TreeSpec
from wbpf.wire.meter import gathering_bytes

#: How long a trace that was asked for may take until it is gathered; a gather itself waits 2 s at most.
GATHER_TIMEOUT_S = 10.0
_LOOK_S = 0.02


class Gathering:
    """Coordinator, collector and an agent for each host, as processes of their own; a context manager.

    Args:
        spec: of the demo.
        directory: for the hosts' segments, in memory.
    """

    def __init__(self, spec: DemoSpec, directory: Path) -> None:
        self._spec, self._directory = spec, directory
        self._tree = Tree(
            TreeSpec(
                hosts=spec.host_names,
                directory=directory,
                store=spec.store,
                coordinator="127.0.0.1:0",
                collector="127.0.0.1:0",
                logs=spec.directory,
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the hosts' processes."""
        return {"WBPF_DIR": str(self._directory)}

    def kill_agent(self, host: str) -> None:
        self._tree.children[f"agent {host}"].kill()

    def restart_agent(self, host: str) -> None:
        self._tree.restart(f"agent {host}")

    def wait_for(self, triggered: Collection[bytes]) -> set[bytes]:
        """Wait until the traces are gathered; returns those that were not in time."""
        missing = set(triggered)
        end_s = time.monotonic() + GATHER_TIMEOUT_S
        with Store.open(self._spec.store, readonly=True) as store:
            while missing:
                missing -= {trace.trace_id for trace in store.traces() if trace.concluded_unix_ns}
                if not missing or time.monotonic() > end_s:
                    break
                time.sleep(_LOOK_S)
        return missing

    def bytes_shipped(self) -> int:
        """What gathering has put on the wire."""
        return gathering_bytes(self._tree.status())

    def export(self) -> None:
        """Write the traces gathered, as `wbpf traces export` does."""
        with Store.open(self._spec.store, readonly=True) as store, self._spec.traces.open("wb") as out:
            export((store.trace(summary.id) for summary in store.traces()), "json", out)

    def __enter__(self) -> Self:
        self._directory.mkdir(mode=0o750)
        self._tree.start()
        self._tree.wait_until_attached()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tree.stop()
