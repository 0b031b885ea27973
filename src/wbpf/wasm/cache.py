"""Compiled modules, kept by the hash of what they were compiled from.

What is in the cache is run as it is, so the folder is the user's own and nobody else may write to it; if
that is not so, modules are compiled each time.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wbpf import _native
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
        key = blake2b(wasm, digest_size=24)
        key.update(f"{VERSION} {os.uname().machine} {with_fuel}".encode())
        return self.folder / f"{key.hexdigest()}.cwasm"

    def find(self, wasm: bytes, with_fuel: bool) -> _native.WasmModule | None:
        """The module's code; None if it is not there, or nobody knows who wrote it."""
        path = self.path(wasm, with_fuel)
        if not self._is_ours(self.folder, stat.S_ISDIR) or not self._is_ours(path, stat.S_ISREG):
            return None
        return _native.WasmModule.load(str(path), with_fuel)[0]

    def keep(self, wasm: bytes, with_fuel: bool, module: _native.WasmModule) -> None:
        """Write a module's code, unless the folder can't be trusted or written."""
        path = self.path(wasm, with_fuel)
        new = path.with_suffix(f".{os.getpid()}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_ours(self.folder, stat.S_ISDIR):
                return
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError:
            return
        error, _ = module.save(fd)
        os.close(fd)
        if error:
            new.unlink()
        else:
            new.replace(path)

    @staticmethod
    def _is_ours(path: Path, is_kind: object) -> bool:
        try:
            status = os.lstat(path)
        except OSError:
            return False
        assert callable(is_kind)
        others = stat.S_IWGRP | stat.S_IWOTH
        return bool(is_kind(status.st_mode)) and status.st_uid == os.geteuid() and not status.st_mode & others
