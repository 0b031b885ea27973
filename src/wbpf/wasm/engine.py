"""Wasmtime, in the package that carries it: the library alone, for the package takes long to import."""

from __future__ import annotations

import sys
from pathlib import Path

from wbpf import _native
from wbpf.errors import WasmError

#: Our C code relies on the layouts of this version.
VERSION = "50.0.1"
_HINT = "pip install 'wbpf[wasm]'"


def open_engine() -> None:
    """Load the library, once a process.

    Raises:
        WasmError: the package is not there, or of another version.
    """
    error, why = _native.open_wasmtime(str(library()))
    if error:
        raise _missing(why)


def library() -> Path:
    """Wasmtime's shared library.

    Raises:
        WasmError: see open_engine().
    """
    package = _package()
    found = next(package.glob("*/_libwasmtime.*"), None)
    if found is None:
        raise _missing(f"{package} has no library for this machine")
    if not (package.parent / f"wasmtime-{VERSION}.dist-info").is_dir():
        there = [path.name.removesuffix(".dist-info") for path in package.parent.glob("wasmtime-*.dist-info")]
        raise _missing(f"{there[0] if there else 'an unknown version'} is installed, {VERSION} is needed")
    return found


def _package() -> Path:
    for folder in sys.path:
        package = Path(folder or ".") / "wasmtime"
        if (package / "_bindings.py").exists():
            return package
    raise _missing("the package wasmtime is not installed")


def _missing(why: str) -> WasmError:
    return WasmError("WebAssembly modules can't be run", why, _HINT)
