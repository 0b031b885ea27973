"""The doorbell in a host's folder: rung when a trigger has fired or a segment was made."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from wbpf import _native
from wbpf.errors import AccessError

_BYTES = 4096


class Doorbell:
    """A word in shared memory that processes wait on. The folder and the file are made if they are missing.

    Args:
        directory: the host's folder, see `host_directory`.

    Raises:
        AccessError, SegmentError: it can't be made or mapped.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        path = Path(directory) / "doorbell"
        if not path.exists():
            _make(path)
        self._native = _native.Doorbell(str(path))

    def wait(self, seen: int, timeout_s: float) -> int:
        """Wait until the word is not `seen`, or the time is over. Lets other threads run; Ctrl-C is heard.

        Returns:
            The word.
        """
        return self._native.wait(seen, timeout_s)

    def ring(self) -> None:
        """Wake all who wait."""
        self._native.ring()


def _make(path: Path) -> None:
    """Make the file as a whole, or not at all: a process that finds it maps it at once."""
    try:
        for folder in (path.parent.parent, path.parent):
            folder.mkdir(mode=0o770, exist_ok=True)
        with NamedTemporaryFile(prefix=".doorbell.", dir=path.parent) as aside:
            aside.write(bytes(_BYTES))
            aside.flush()
            os.fchmod(aside.fileno(), 0o660)
            with suppress(FileExistsError):
                os.link(aside.name, path)
    except OSError as error:
        raise AccessError(
            f"the doorbell {path} can't be made",
            str(error),
            "set WBPF_DIR to a folder that you may write to",
        ) from error
