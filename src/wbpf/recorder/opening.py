"""Opening this process's segment."""

from __future__ import annotations

import errno
import os
from typing import TypeAlias

from wbpf import _native, envvars
from wbpf.errors import AccessError, ConfigError, SegmentError, WbpfError

_Options: TypeAlias = tuple[str | None, str | None, str | None, int, int]
_opened: _Options | None = None


def open(
    service: str | None = None,
    *,
    host: str | None = None,
    directory: str | os.PathLike[str] | None = None,
    size_mib: int | None = None,
    level: int | str | None = None,
) -> None:
    """Start recording, to the segment of this service on this host, which is made if it is not there.

    Opening again with the same arguments does nothing. Until this is called all tracing does nothing, at next
    to no cost.

    Args:
        service: name of the service; `$WBPF_SERVICE`, else the script's name.
        host: name of the host; `$WBPF_HOST`, else the host's name.
        directory: of this machine's hosts; `$WBPF_DIR`, else /dev/shm/wbpf-UID.
        size_mib: of a segment that is made; `$WBPF_SEGMENT_MB`, else 64.
        level: severity from which a segment that is made takes records; `$WBPF_LEVEL`, else everything.

    Raises:
        SegmentError: no memory for it, or what is there is no segment of this format.
        AccessError: a right is missing, or everybody may write to the folder.
        ConfigError: an argument or variable can't be used, or other arguments than when it was opened.
    """
    global _opened
    options = (
        service or envvars.SERVICE.read(),
        host,
        None if directory is None else os.fspath(directory),
        0 if size_mib is None else _size(size_mib),
        0 if level is None else _native.level_number(level),
    )
    if _opened is not None and _opened == options:
        return
    error, text = _native.open_segment(*options)
    if error == 0:
        _opened = options
    elif error == -errno.EEXIST:
        raise ConfigError(
            "recording can't be started",
            f"this process records to {_native.segment_path()} already, opened with other arguments",
            "call wbpf.close() first, or open once",
        )
    else:
        raise _explain(error, text)


def close() -> None:
    """Stop recording. What was recorded stays in the segment."""
    global _opened
    _native.close_segment()
    _opened = None


def segment_path() -> str | None:
    """Path of the segment that this process records to; None when it is not open."""
    return _native.segment_path()


def _size(size_mib: int) -> int:
    if 0 < size_mib < 1 << 32:
        return size_mib
    raise ConfigError(f"a segment can't be {size_mib} MiB large", "", "use a size of at least 1 MiB")


def _explain(error: int, text: str) -> WbpfError:
    """Make an exception of what wbpf_error() says: `what: why; hint`."""
    head, _, hint = text.rpartition("; ") if "; " in text else (text, "", "")
    what, _, why = head.partition(": ")
    if error in (-errno.EACCES, -errno.EPERM, -errno.EROFS):
        return AccessError(what, why, hint or "set WBPF_DIR to a folder that you may write to")
    if error == -errno.EINVAL:
        return ConfigError(what, why, hint)
    return SegmentError(what, why, hint)
