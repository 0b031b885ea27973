"""TC programs before kernel 6.6, which the kernel keeps when their process is killed.

Each has a note, a file that its process holds a lock on while it lives. Who attaches next removes what notes
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
_GUARD = "import sys; from wbpf.bpf.tc_filters import guard; guard(sys.argv[1])"


class Note:
    """A note of one filter, until it is closed.

    Args:
        filter: as the native core describes it.
    """

    def __init__(self, filter: tuple[int, int, int, int, int]) -> None:
        _FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = _FOLDER / f"tc-{_netns()}-{'-'.join(map(str, filter))}"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.write(self._fd, json.dumps(filter).encode())
        command = [sys.executable, "-c", _GUARD, str(self._path)]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self) -> None:
        """The filter is gone."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)
        if self._guard.stdin:
            self._guard.stdin.close()
        self._guard.wait()


def remove_dead() -> int:
    """Remove the filters of this network namespace whose process is gone; how many there were."""
    return sum(_remove(path, fcntl.LOCK_NB) for path in _FOLDER.glob(f"tc-{_netns()}-*"))


def guard(path: str) -> None:
    """Wait until the process that started this one is gone, however it ended; then remove its filter."""
    sys.stdin.read()
    _remove(Path(path), 0)


def _remove(path: Path, wait: int) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | wait)
        content = os.read(fd, 4096)
        if not content:  # it is about to be written
            return False
        path.unlink(missing_ok=True)
        return _native.bpf_remove_tc_filter(*json.loads(content)) == 0
    except BlockingIOError:  # its process lives
        return False
    finally:
        os.close(fd)


def _netns() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino
