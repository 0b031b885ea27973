"""Every environment variable that wBPF reads. The C library reads those of recording, with these defaults."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from wbpf.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class EnvVar(Generic[T]):
    """One environment variable.

    Args:
        name: its name.
        parse: makes the value from the text; raises ValueError with what it expected.
        default: makes the value when the variable is not set or empty.
        default_text: the default in words, for help and docs.
        help: what it is for, in one line.
    """

    name: str
    parse: Callable[[str], T]
    default: Callable[[], T]
    default_text: str
    help: str

    def read(self, environ: Mapping[str, str] | None = None) -> T:
        """Return the value in force.

        Raises:
            ConfigError: the variable is set to something that can't be used.
        """
        text = (os.environ if environ is None else environ).get(self.name, "")
        if not text:
            return self.default()
        try:
            return self.parse(text)
        except ValueError as error:
            raise ConfigError(
                f"{self.name}={text!r} can't be used",
                str(error),
                f"unset {self.name} for {self.default_text}",
            ) from error


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError("it must be a whole number above 0")
    return int(text)


def _program() -> str:
    """The script's name, or that of the package that `python -m` runs."""
    path = Path(sys.argv[0] if sys.argv else "")
    name = path.parent.name if path.stem == "__main__" else path.stem
    return name.lstrip(".-")[:63] if name not in ("", "-c") else "python"


DIR = EnvVar(
    "WBPF_DIR",
    Path,
    lambda: Path(f"/dev/shm/wbpf-{os.getuid()}"),
    "/dev/shm/wbpf-UID",
    "directory of this machine's hosts; each has a folder of segments in it",
)
HOST = EnvVar("WBPF_HOST", str, lambda: os.uname().nodename, "the host's name", "name of this host in traces")
SERVICE = EnvVar(
    "WBPF_SERVICE",
    str,
    _program,
    "the program's name",
    "name of this service in traces",
)
SEGMENT_MB = EnvVar("WBPF_SEGMENT_MB", _positive, lambda: 64, "64", "size in MiB of a segment that is made")
LEVEL = EnvVar(
    "WBPF_LEVEL",
    str,
    lambda: "trace",
    "trace (everything)",
    "severity below which nothing is recorded: trace, debug, info, warn, error, fatal, off, or a number",
)

POOL = EnvVar[Path | None](
    "WBPF_POOL", Path, lambda: None, "no pool", "pool that the agent flushes this host's segments to"
)
POOL_MB = EnvVar(
    "WBPF_POOL_MB", _positive, lambda: 16, "16", "size in MiB of what the pool holds of a segment: the newest"
)
FLUSH_US = EnvVar(
    "WBPF_FLUSH_US",
    _positive,
    lambda: 10_000,
    "10000",
    "microseconds between two flushes to the pool at most",
)
FLUSH_KB = EnvVar(
    "WBPF_FLUSH_KB",
    _positive,
    lambda: 256,
    "256",
    "KiB recorded in a segment after which it is flushed sooner, judged by the rate of late",
)

CACHE_DIR = EnvVar(
    "WBPF_CACHE_DIR",
    Path,
    lambda: Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wbpf",
    "~/.cache/wbpf",
    "directory of what is made or fetched once: headers, compiled modules, BTF",
)

BTF_ARCHIVE = EnvVar(
    "WBPF_BTF_ARCHIVE",
    str,
    lambda: "",
    "none",
    "archive, in BTFHub's layout, of BTF for kernels without their own: a folder, or https://…",
)

ALL: tuple[EnvVar[Any], ...] = (
    DIR,
    HOST,
    SERVICE,
    SEGMENT_MB,
    LEVEL,
    POOL,
    POOL_MB,
    FLUSH_US,
    FLUSH_KB,
    CACHE_DIR,
    BTF_ARCHIVE,
)

__all__ = [
    "ALL",
    "BTF_ARCHIVE",
    "CACHE_DIR",
    "DIR",
    "FLUSH_KB",
    "FLUSH_US",
    "HOST",
    "LEVEL",
    "POOL",
    "POOL_MB",
    "SEGMENT_MB",
    "SERVICE",
    "EnvVar",
]
