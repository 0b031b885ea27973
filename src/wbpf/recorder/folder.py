"""Where a host's segments are."""

from __future__ import annotations

import os
from pathlib import Path

from wbpf.envvars import DIR, HOST


def host_directory(directory: str | os.PathLike[str] | None = None, host: str | None = None) -> Path:
    """The folder of a host's segments; it need not exist.

    Args:
        directory: of this machine's hosts; `$WBPF_DIR`, else /dev/shm/wbpf-UID.
        host: its name; `$WBPF_HOST`, else the host's name.
    """
    return (DIR.read() if directory is None else Path(directory)) / (host or HOST.read())


def segments(host_dir: str | os.PathLike[str]) -> list[Path]:
    """The segments in a host's folder, by name; none if there is no such folder."""
    return sorted(Path(host_dir).glob("*.seg"))
