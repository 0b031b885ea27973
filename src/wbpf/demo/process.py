"""A host of the demo, as the driver sees it: one process, and the socket pair that leads to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from wbpf.demo.messages import WorkerSpec

#: How long a process may take to end once nobody needs it.
EXIT_TIMEOUT_S = 5.0


class HostProcess:
    """A running `wbpf.demo.worker`.

    Args:
        spec: what to tell it.
        directory: for its log: what it writes to standard output and error.
        environment: variables to set for it, beside this process's own.
    """

    def __init__(self, spec: WorkerSpec, directory: Path, environment: dict[str, str]) -> None:
        self.name = spec.host
        self.log = directory / f"{spec.host}.log"
        here, there = socket.socketpair()
        with there, self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wbpf.demo.worker", spec.to_json(), str(there.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[there.fileno()],
                env=os.environ | environment | {"WBPF_HOST": spec.host},
            )
        self.connection = Connection(here.detach())

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with status {self._process.poll()} and said nothing"

    def close(self) -> None:
        """End it: at once if it does not end by itself."""
        self.connection.close()
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
