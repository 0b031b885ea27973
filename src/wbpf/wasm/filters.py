"""Filters on process, command and cgroup, put into eBPF programs before they are loaded.

The object's side is `wbpf/filter.bpf.h`.
"""

from __future__ import annotations

import os
import re
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.kernel import Object
    from wbpf.bpf.user.objects import UserObject

_VARIABLE = "wbpf_filter"
_PID, _COMM, _CGROUP = 1, 2, 4
_COMM_BYTES = 15
_LAYOUT = struct.Struct("<IIQII16s")
#: Where version 2 is mounted: below the folder of version 1 on hosts that have both.
_ROOT = next(
    (
        root
        for root in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
        if (root / "cgroup.controllers").exists()
    ),
    Path("/sys/fs/cgroup"),
)


@dataclass(frozen=True)
class Filter:
    """What is traced; None stands for anything.

    Args:
        pid: of a process that there is.
        comm: the name of a thread, 15 bytes at most.
        cgroup: the folder of a cgroup (v2); processes in it and below it are traced.
    """

    pid: int | None = None
    comm: str | None = None
    cgroup: str | None = None

    def pack(self) -> bytes:
        """The object's variable.

        Raises:
            ConfigError: a value can't be used.
        """
        flags = level = cgroup = 0
        comm = (self.comm or "").encode()
        if self.pid is not None:
            flags |= _PID
            _validate_pid(self.pid)
        if self.comm is not None:
            flags |= _COMM
            if len(comm) > _COMM_BYTES:
                kept = comm[:_COMM_BYTES].decode(errors="ignore")
                raise ConfigError(
                    f"--comm {self.comm!r} can't be used",
                    f"it has {len(comm)} bytes, and the kernel keeps {_COMM_BYTES} of a thread's name",
                    f"--comm {shlex.quote(kept)}",
                )
        if self.cgroup is not None:
            flags |= _CGROUP
            cgroup, level = _cgroup(self.cgroup)
        return _LAYOUT.pack(flags, self.pid or 0, cgroup, level, 0, comm)

    def apply(self, target: Object | UserObject) -> None:
        """Set it in an object.

        Raises:
            ConfigError: the object has no filter, or a value can't be used.
        """
        if _VARIABLE not in target.variables:
            raise without_filter(target.name)
        target.variables[_VARIABLE] = self.pack()


def without_filter(name: str) -> ConfigError:
    """The error for an object that can't filter."""
    return ConfigError(
        f"eBPF object {name!r} can't filter by --pid, --comm or --cgroup",
        f"it has no variable {_VARIABLE}",
        "include <wbpf/filter.bpf.h> in it and ask wbpf_filtered()",
    )


def _validate_pid(pid: int) -> None:
    what = f"--pid {pid} can't be used"
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        if not Path("/proc/self").exists():  # nobody can tell
            return
        raise ConfigError(what, "there is no such process", "`ps -e` lists them") from None
    group = re.search(r"^Tgid:\t(\d+)$", status, re.MULTILINE)
    if group and int(group[1]) != pid:
        raise ConfigError(what, f"it is a thread of process {group[1]}", f"--pid {group[1]}")


def _cgroup(path: str) -> tuple[int, int]:
    """The id and depth of a cgroup, given as a folder or by its name below the root."""
    folder = Path(path) if path.startswith(f"{_ROOT}") else _ROOT / path.lstrip("/")
    real = Path(os.path.realpath(folder))
    try:
        number = real.stat().st_ino
    except OSError as error:
        raise ConfigError(
            f"--cgroup {path!r} can't be used", os.strerror(error.errno or 0), f"give a folder below {_ROOT}"
        ) from error
    if not real.is_relative_to(_ROOT) or not (real / "cgroup.procs").exists():
        raise ConfigError(
            f"--cgroup {path!r} can't be used", f"{real} is no cgroup", f"give a folder below {_ROOT}"
        )
    return number, len(real.relative_to(_ROOT).parts)
