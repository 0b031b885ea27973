"""TC programs before kernel 6.6, which the kernel keeps when their process is killed.

Each has a note, a file that its process holds a lock on while it lives. Who comes next removes what notes
without a holder speak of; a small guard process does so at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

from wbpf import _native

_FOLDER = Path("/run/wbpf/attached")


class Note:
    """A note of one filter, until it is closed."""

    def __init__(self, filter: tuple[int, int, int, int, int], folder: Path = _FOLDER) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"tc-{_netns()}-{'-'.join(map(str, filter))}"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.write(self._fd, json.dumps({"netns": _netns(), "filter": filter}).encode())
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "wbpf.bpf.tc_filters", str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def close(self) -> None:
        """The filter is gone."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait()


def remove_dead(folder: Path = _FOLDER) -> int:
    """Remove the filters of this network namespace whose process is gone; how many there were."""
    removed = 0
    for path in folder.glob(f"tc-{_netns()}-*"):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            removed += _native.bpf_remove_tc_filter(*json.loads(os.read(fd, 4096))["filter"]) == 0
            path.unlink(missing_ok=True)
        except (BlockingIOError, ValueError):  # its process lives, or is about to write it
            continue
        finally:
            os.close(fd)
    return removed


def _netns() -> int:
    return Path("/proc/self/ns/net").stat().st_ino


def _guard(folder: Path) -> None:
    sys.stdin.read()  # ends when the process that started this one does, however that ends
    remove_dead(folder)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
