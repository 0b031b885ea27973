"""eBPF applications packaged as WebAssembly modules: what is in them, and running them.

    from wbpf.wasm import Grants, Module

    result = Module.open("app.wasm").run(grants=Grants.all(), on_event=print, duration_s=10)

`sections` reads and adds a module's custom sections, `manifest` is what a module says of itself, `params` are
its parameters; `module` and `guest` run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbpf.wasm.cache import Cache as Cache
    from wbpf.wasm.events import Event as Event
    from wbpf.wasm.filters import Filter as Filter
    from wbpf.wasm.grants import Grants as Grants
    from wbpf.wasm.guest import Guest as Guest
    from wbpf.wasm.limits import Limits as Limits
    from wbpf.wasm.manifest import Manifest as Manifest
    from wbpf.wasm.module import Module as Module
    from wbpf.wasm.result import Cause as Cause
    from wbpf.wasm.result import RunResult as RunResult

_HOMES = {
    "Cache": "cache",
    "Cause": "result",
    "Event": "events",
    "Filter": "filters",
    "Grants": "grants",
    "Guest": "guest",
    "Limits": "limits",
    "Manifest": "manifest",
    "Module": "module",
    "RunResult": "result",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = [
    "Cache",
    "Cause",
    "Event",
    "Filter",
    "Grants",
    "Guest",
    "Limits",
    "Manifest",
    "Module",
    "RunResult",
]
