"""The process that `wbpf run --backend user` traces: one that runs, or a command that it starts."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wbpf.bpf.user.attach import Traced
from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from wbpf.wasm.guest import Guest

#: How long a command may take to end once its trace is over, before it is killed.
_GRACE_S = 2.0


class Tracing:
    """What is traced by a run. As a context it lets go of it; a command that still runs is ended.

    Args:
        pid: of a process that runs; None: none.
        command: that is started; empty: none.
        is_quiet: its output goes to standard error, because standard output is for programs.
    """

    def __init__(self, pid: int | None, command: Sequence[str], *, is_quiet: bool) -> None:
        if pid is not None and command:
            raise ConfigError("--pid can't be used", "a command is given too", "leave out one of them")
        #: the command's exit status, as shells have it; None: none has ended by itself
        self.status: int | None = None
        self._is_command = bool(command)
        self._traced: Traced | None = None
        self._watcher: threading.Thread | None = None
        self._ends_here = False
        if command:
            self._traced = Traced.launch(command, stdout=sys.stderr.fileno() if is_quiet else None)
        elif pid is not None:
            self._traced = Traced.of(pid)

    @property
    def options(self) -> dict[str, object]:
        """Of `Module.start`: the command runs once the module waits for what it does."""
        if self._traced is None:
            return {}
        if not self._is_command:
            return {"traced": self._traced}
        return {"traced": self._traced, "on_wait": self._traced.go, "stdin": False}

    def watch(self, guest: Guest) -> None:
        """End a guest when the command ends."""
        if self._is_command:
            self._watcher = threading.Thread(target=self._wait, args=(guest,), daemon=True)
            self._watcher.start()

    def _wait(self, guest: Guest) -> None:
        assert self._traced is not None
        status = self._traced.wait()
        if not self._ends_here:
            self.status = 128 - status if status < 0 else status
        guest.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._traced is None:
            return
        process = self._traced.process
        self._ends_here = process is not None and process.poll() is None
        self._traced.close()
        if self._is_command:
            self._end(self._traced)
        if self._watcher is not None:
            self._watcher.join(_GRACE_S)  # else it, and the guest, may outlive the interpreter
        for text in dict.fromkeys(map(str, self._traced.problems)):
            sys.stderr.write(f"warning: {text}\n")

    def _end(self, traced: Traced) -> None:
        process = traced.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return
        process.kill()
        process.wait()
