"""The host's folder: who may speak for it, which life of the host this is, and the doorbell."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wbpf.errors import AccessError
from wbpf.recorder import Doorbell
from wbpf.wire.lock import take_lock

BELL_S = 1.0


class HostFolder:
    """The folder of one host, taken by this agent alone.

    Args:
        path: of the folder; it is made if it is missing.

    Raises:
        AccessError: a right is missing, it can't be made, or everybody may write to it.
        ConfigError: another agent has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.doorbell = Doorbell(path)
        for folder in (path.parent, path):  # as applications do
            if folder.stat().st_mode & stat.S_IWOTH:
                raise AccessError(
                    f"the folder {folder} is not safe",
                    "everybody may write to it: nothing in it can be trusted",
                    f"chmod o-w {folder}, or set WBPF_DIR",
                )
        self._lock = take_lock(
            self.path / "agent.lock",
            0o660,
            taken=f"an agent for host {self.path.name!r} is running already",
            else_use="run as the user of the applications",
            other="choose another --host or WBPF_DIR",
        )
        self.incarnation, self.started_unix_ns = self._incarnation()

    def _incarnation(self) -> tuple[int, int]:
        """The host's incarnation, made if no application has yet, and when that was."""
        path = self.path / "incarnation"
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=".incarnation.") as aside:
                aside.write(secrets.token_bytes(8))
                aside.flush()
                os.fchmod(aside.fileno(), 0o660)
                with suppress(FileExistsError):
                    os.link(aside.name, path)
        return int.from_bytes(path.read_bytes()[:8], "little"), path.stat().st_mtime_ns

    def close(self) -> None:
        os.close(self._lock)


class Bell:
    """Waits for the doorbell on a thread, and calls back on the event loop.

    Args:
        doorbell: of the host's folder.
        rung: called when it was rung.
    """

    def __init__(self, doorbell: Doorbell, rung: Callable[[], None]) -> None:
        self._doorbell = doorbell
        self._rung = rung
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._wait, name="doorbell", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        seen = self._doorbell.wait(0, 0)
        while not self._stopped:
            word = self._doorbell.wait(seen, BELL_S)
            if word != seen and not self._stopped:
                seen = word
                with suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._rung)

    def close(self) -> None:
        self._stopped = True
        self._doorbell.ring()
        self._thread.join(2 * BELL_S)
