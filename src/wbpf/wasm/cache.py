"""Compiled modules and their plans, kept by the hash of what they were compiled from.

What is in the cache is run as it is, so the folder is the user's own and nobody else may write to it; if
that is not so, modules are compiled each time.
"""

from __future__ import annotations

import os
from pathlib import Path

from wbpf import __version__, _native
from wbpf.bpf.code_folder import CodeFolder
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
        self._files = CodeFolder(self.folder)

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
        """The module's code; None if it is not there, or somebody else could have written it."""
        fd = self._files.open(self.path(wasm, with_fuel).name)
        if fd is None:
            return None
        try:
            return _native.WasmModule.load(f"/proc/self/fd/{fd}", with_fuel)[0]
        finally:
            os.close(fd)

    def keep(self, wasm: bytes, with_fuel: bool, module: _native.WasmModule) -> None:
        """Write a module's code, unless the folder can't be trusted or written."""
        self._files.keep(self.path(wasm, with_fuel).name, lambda fd: module.save(fd)[0] == 0)

    def keep_plan(self, wasm: bytes, plan: bytes) -> None:
        """Write its plan, unless it is there; see keep()."""
        name = self.plan_path(wasm).name
        if self._files.read(name) != plan:
            self._files.keep(name, lambda fd: os.write(fd, plan) == len(plan))
