"""Attaching programs in user space: to what happens in processes, to packets, to time.

Each kind of program has a module, imported when it is first used, with
`attach(program, target, cookie, traced) -> UserLink`; `target` None is what the section names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wbpf.errors import BpfError

if TYPE_CHECKING:
    from wbpf.bpf.user.attach.link import Detached as Detached
    from wbpf.bpf.user.attach.link import UserLink as UserLink
    from wbpf.bpf.user.attach.site import attach_site as attach_site
    from wbpf.bpf.user.attach.site import list_sites as list_sites
    from wbpf.bpf.user.attach.traced import Link as Link
    from wbpf.bpf.user.attach.traced import Traced as Traced
    from wbpf.bpf.user.objects import UserObjectProgram

#: The first part of sections' names, and the module for them.
MODULES = {
    "classifier": "packets",
    "perf_event": "timer",
    "probe": "site",
    "socket": "packets",
    "tc": "packets",
    "tcx": "packets",
    "xdp": "packets",
    "usdt": "usdt",
    **dict.fromkeys(("tp", "tracepoint", "raw_tp", "raw_tracepoint"), "syscalls"),
    **dict.fromkeys(("uprobe", "uprobe.s", "uretprobe", "uretprobe.s"), "function"),
}
_HOMES = {
    "Detached": "link",
    "Link": "traced",
    "Traced": "traced",
    "UserLink": "link",
    "attach_site": "site",
    "list_sites": "site",
}


def module_of(section: str) -> str | None:
    """The module that attaches programs of a section; None: user space has no place for them."""
    return MODULES.get(section.removeprefix("?").partition("/")[0])


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> UserLink:
    """Attach a loaded program.

    Raises:
        ConfigError: the target can't be read.
        BpfError: there is no such place, or none for this kind of program; nothing is attached then.
        AccessError: a process is another user's.
    """
    name = module_of(program.section)
    if name is None:
        raise BpfError(
            f"program {program.name!r} can't be attached",
            f"user space has no place for programs of section {program.section!r}",
            f"those of {', '.join(sorted(MODULES))} have one; test_run() runs it once",
        )
    link: UserLink = import_module(f"{__name__}.{name}").attach(program, target, cookie, traced)
    return link


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


__all__ = [
    "MODULES",
    "Detached",
    "Link",
    "Traced",
    "UserLink",
    "attach",
    "attach_site",
    "list_sites",
    "module_of",
]
