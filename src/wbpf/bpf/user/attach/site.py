"""Attaching a program to the probe sites of a process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wbpf.bpf.kinds import PROBE_SITE
from wbpf.bpf.nearest import nearest
from wbpf.bpf.user.attach import wire
from wbpf.bpf.user.attach.traced import Link, Traced
from wbpf.bpf.user.attach.wire import AttachKind, Spot
from wbpf.envvars import DIR, HOST
from wbpf.errors import BpfError, ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.user.objects import UserObjectProgram


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> Link:
    """To the sites that the section `probe/PROVIDER:NAME` names, or a target `PROVIDER:NAME`.

    Raises:
        ConfigError: no site or no process is named.
        BpfError, AccessError: as `attach_site`.
    """
    what = f"program {program.name!r} can't be attached"
    site = demand_site(what, program.section, target)
    if traced is None:
        raise ConfigError(what, "a probe site is one of a process", "give the process: --pid PID")
    return _attach(traced, site, program, cookie)


def demand_site(what: str, section: str, target: str | None) -> str:
    """The site that a section or a target names. Raises ConfigError: neither does."""
    site = target or section.partition("/")[2]
    if ":" not in site or "\0" in site or len(site.encode()) > 255:
        raise ConfigError(what, f"{site!r} is no PROVIDER:NAME", "give a target such as shop:order")
    return site


def attach_site(
    pid: int, site: str, program: UserObjectProgram, *, cookie: int = 0, host_dir: Path | None = None
) -> Link:
    """Attach a program to probe sites of a running process.

    Args:
        pid: of a process that uses wbpf/probe.h and libwbpf, of the same user.
        site: `provider:name`.
        program: of section `probe/…`, loaded; its maps are shared with the process.
        cookie: that it reads by bpf_get_attach_cookie().
        host_dir: where the process has its socket; `$WBPF_DIR/HOST`.

    Raises:
        AccessError: the process is another user's.
        BpfError: it does not listen, has no such site, or refuses the program; or that is for something else.
    """
    return _attach(Traced.of(pid, host_dir=host_dir, load=False), site, program, cookie)


def list_sites(pid: int, *, host_dir: Path | None = None) -> list[str]:
    """The probe sites of a running process, as `provider:name`; several of one name are named once.

    Args:
        pid: of a process that uses wbpf/probe.h and libwbpf, or `wbpf.probe`, of the same user.
        host_dir: where the process has its socket; `$WBPF_DIR/HOST`.

    Raises:
        AccessError: the process is another user's.
        BpfError: it does not listen.
    """
    folder = host_dir or DIR.read() / HOST.read()
    return sorted(set(wire.site_names(pid, folder, f"the probe sites of process {pid} can't be listed")))


def _attach(traced: Traced, site: str, program: UserObjectProgram, cookie: int) -> Link:
    what = f"can't attach to {site!r} of process {traced.pid}"
    if len(site.encode()) > 255 or "\0" in site:
        raise BpfError(what, "its name is not that of a site", "it is PROVIDER:NAME")
    if program.kind != PROBE_SITE:
        raise BpfError(
            what, f"program {program.name!r} is for {program.section!r}", 'it needs SEC("probe/…")'
        )
    try:
        return traced.link(program, lambda pid: Spot(AttachKind.SITE, cookie=cookie, site=site), what)
    except wire.NoPlaceError as error:
        names = list_sites(traced.pid, host_dir=traced.folder)
        near = nearest(site, names)
        error.hint = f"did you mean {near}?" if near else f"it has {', '.join(names) or 'none'}"
        raise
