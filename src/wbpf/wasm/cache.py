"""Compiled modules and their plans, kept by the hash of what they were compiled from.

What is in the cache is run as it is, so the folder is the user's own and nobody else may write to it; if
that is not so, modules are compiled each time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from wbpf import __version__, _native
from wbpf.envvars import CACHE_DIR
from wbpf.wasm.engine import VERSION

try:
    from _blake2 import blake2b  # what hashlib offers too, after it has loaded OpenSSL
except ImportError:
    from hashlib import blake2b


class Cache:
    """A folder of compiled modules.

    Args:
        folder: made if it is not there; `$WBPF_CACHE_DIR/wasm` by default.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = (CACHE_DIR.read() if folder is None else Path(folder)) / "wasm"

    def path(self, wasm: bytes, with_fuel: bool) -> Path:
        """Where a module's code is or would be."""
        return self._path(wasm, f"{__version__} {VERSION} {os.uname().machine} {with_fuel}", "cwasm")

    def plan_path(self, wasm: bytes) -> Path:
        """Where its plan is or would be."""
        return self._path(wasm, f"plan {__version__} {VERSION} {os.uname().machine}", "plan")

    def _path(self, wasm: bytes, key: str, ending: str) -> Path:
        digest = blake2b(wasm, digest_size=24)
        digest.update(key.encode())
        return self.folder / f"{digest.hexdigest()}.{ending}"

    def find(self, wasm: bytes, with_fuel: bool) -> _native.WasmModule | None:
        """The module's code; None if it is not there, or nobody knows who wrote it."""
        path = self.path(wasm, with_fuel)
        if not self._is_ours(self.folder, stat.S_ISDIR) or not self._is_ours(path, stat.S_ISREG):
            return None
        return _native.WasmModule.load(str(path), with_fuel)[0]

    def keep(self, wasm: bytes, with_fuel: bool, module: _native.WasmModule) -> None:
        """Write a module's code, unless the folder can't be trusted or written."""
        self._write(self.path(wasm, with_fuel), lambda fd: module.save(fd)[0] == 0)

    def keep_plan(self, wasm: bytes, plan: bytes) -> None:
        """Write its plan, unless it is there; see keep()."""
        path = self.plan_path(wasm)
        if not self._is_ours(path, stat.S_ISREG) or path.read_bytes() != plan:
            self._write(path, lambda fd: os.write(fd, plan) == len(plan))

    def _write(self, path: Path, write: Callable[[int], bool]) -> None:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_ours(self.folder, stat.S_ISDIR):
                return
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError:
            return
        try:
            written = write(fd)
        except OSError:
            written = False
        finally:
            os.close(fd)
        if written:
            new.replace(path)
        else:
            new.unlink()

    @staticmethod
    def _is_ours(path: Path, is_kind: object) -> bool:
        try:
            status = os.lstat(path)
        except OSError:
            return False
        assert callable(is_kind)
        others = stat.S_IWGRP | stat.S_IWOTH
        return bool(is_kind(status.st_mode)) and status.st_uid == os.geteuid() and not status.st_mode & others
