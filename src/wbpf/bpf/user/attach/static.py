"""What a traced command executes and can't be traced: programs that are linked statically, as Go's are.

Nothing is loaded into such a program, so nobody tells of it: the command's descendants are looked at.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from struct import Struct

from wbpf.errors import BpfError

_INTERVAL_S = 0.05
_HEADER, _PROGRAM = Struct("<4sB27xQ14xHH"), Struct("<I")
_INTERPRETER = 3


class StaticPrograms:
    """Looks for them until `close`; one that ends within 50 ms, or whose parent does, may not be seen.

    Args:
        pid: of the command.
        tell: is called once for each of their files, from a thread.
    """

    def __init__(self, pid: int, tell: Callable[[BpfError], None]) -> None:
        self._tell = tell
        self._family, self._seen = {pid}, _processes()
        self._known: set[tuple[int, int]] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more. Again does nothing."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_INTERVAL_S):
            now = _processes()
            for pid in sorted(now - self._seen):
                if _parent_of(pid) in self._family:
                    self._family.add(pid)
            self._seen = now
            self._family &= now
            for pid in self._family:
                self._look(pid)

    def _look(self, pid: int) -> None:
        link = Path(f"/proc/{pid}/exe")
        try:
            found = link.stat()
            if (found.st_dev, found.st_ino) in self._known:
                return
            self._known.add((found.st_dev, found.st_ino))
            path = link.readlink()
            if ".so" in path.name or not is_static(link):  # the loader itself loads what is preloaded
                return
        except OSError:  # it is gone, or not to be looked at
            return
        hint = "the kernel's eBPF traces it: --backend kernel"
        self._tell(BpfError(f"{path} was not traced", "it is linked statically", hint))


def is_static(path: Path) -> bool:
    """Whether a file is a 64-bit program for which no loader is asked. Raises OSError: it can't be read."""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return False
        magic, bits, programs_at, each, count = _HEADER.unpack(header)
        if magic != b"\x7fELF" or bits != 2 or each < _PROGRAM.size:
            return False
        file.seek(programs_at)
        table = file.read(each * count)
    if len(table) < each * count:
        return False
    kinds = (_PROGRAM.unpack_from(table, at * each)[0] for at in range(count))
    return _INTERPRETER not in kinds


def _processes() -> set[int]:
    with os.scandir("/proc") as entries:
        return {int(one.name) for one in entries if one.name.isdigit()}


def _parent_of(pid: int) -> int:
    """0: it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
