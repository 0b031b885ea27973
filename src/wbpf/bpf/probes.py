"""What this kernel has of eBPF, part by part: kinds of programs and maps, helpers, kfuncs, attach types.

Each answer is yes, no, or could not tell. Kinds and helpers are tried; where this process lacks a right that
trying takes, nothing can be told.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from wbpf import _native
from wbpf.bpf.features import Answer, Have, have_capabilities, have_libbpf
from wbpf.bpf.helpers import NUMBERS
from wbpf.bpf.kinds import SINCE, MapType, ProgramType, capabilities_for

_VMLINUX = Path("/sys/kernel/btf/vmlinux")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
#: Loaded for a function of the kernel: another one may be allowed.
_FOR_FUNCTIONS = {ProgramType.TRACING, ProgramType.LSM, ProgramType.EXT}
_Probe = Callable[[], int]


def have_program_type(kind: ProgramType) -> Answer:
    """Whether programs of a kind can be loaded."""
    what = f"programs of type {kind.name}{_since(kind)}"
    answer = _tried(what, capabilities_for(kind), lambda: _native.bpf_probe_program(kind))
    if answer.have is Have.NO and kind in _FOR_FUNCTIONS:
        return Answer(what, Have.UNKNOWN, "the kernel refuses a trial at one of its functions", answer.hint)
    return answer


def have_map_type(kind: MapType) -> Answer:
    """Whether maps of a kind can be made."""
    what = f"maps of type {kind.name}{_since(kind)}"
    return _tried(what, ("CAP_BPF",), lambda: _native.bpf_probe_map_type(kind))


def have_helper(kind: ProgramType, name: str) -> Answer:
    """Whether programs of a kind may call a helper.

    Args:
        kind: of the programs; for those that are loaded for a kernel function it can't be told.
        name: as in `wbpf.bpf.helpers`.
    """
    what = f"helper {name} in programs of type {kind.name}"
    number = NUMBERS.get(name.removeprefix("bpf_"))
    if number is None:
        return Answer(what, Have.UNKNOWN, "no such helper is known", "kfuncs are asked for by have_kfunc()")
    return _tried(what, capabilities_for(kind), lambda: _native.bpf_probe_helper(kind, number))


def have_kfunc(name: str, btf: Path = _VMLINUX) -> Answer:
    """Whether the kernel has a function that programs call by its name."""
    return _in_btf(f"kfunc {name}", name, btf)


def have_attach_type(name: str, btf: Path = _VMLINUX) -> Answer:
    """Whether the kernel knows a way of attaching, such as `BPF_TCX_INGRESS`."""
    return _in_btf(f"attach type {name}", name, btf)


def have_config(option: str, paths: Iterable[Path] | None = None) -> Answer:
    """Whether the kernel was built with an option, such as `CONFIG_KPROBES`, or has it as a module."""
    what = f"a kernel with {option}"
    release = os.uname().release
    if paths is None:
        paths = (Path("/proc/config.gz"), Path(f"/boot/config-{release}"))
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            continue
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode(errors="replace")
        line = next((line for line in text.splitlines() if line.startswith(f"{option}=")), "")
        if line.partition("=")[2] in ("", "n"):
            return Answer(what, Have.NO, f"{path} does not set it", "use a kernel that has it")
        return Answer(what, Have.YES, f"{line} in {path}")
    return Answer(what, Have.UNKNOWN, "its configuration can't be read", "mount it: modprobe configs")


def have_no_lockdown(path: Path = _LOCKDOWN) -> Answer:
    """Whether the kernel lets root's programs read its memory: lockdown for confidentiality does not."""
    what = "a kernel that is not locked down"
    try:
        text = path.read_text().strip()
    except OSError as error:
        hint = "mount -t securityfs securityfs /sys/kernel/security"
        return Answer(what, Have.UNKNOWN, str(error), hint)
    level = text.partition("[")[2].partition("]")[0]
    if level == "confidentiality":
        return Answer(what, Have.NO, f"lockdown is {level}", "boot without lockdown=confidentiality")
    return Answer(what, Have.YES, f"lockdown is {level or 'off'}")


def _tried(what: str, needs: tuple[str, ...], probe: _Probe) -> Answer:
    libbpf, rights = have_libbpf(), have_capabilities(needs)
    for missing in (libbpf, rights):
        if not missing:
            return Answer(what, Have.UNKNOWN, f"it can't be tried: {missing.why}", missing.hint)
    result = probe()
    if result > 0:
        return Answer(what, Have.YES, "tried")
    if result == 0:
        return Answer(what, Have.NO, "the kernel refuses it", "use a newer kernel")
    return Answer(what, Have.UNKNOWN, f"it can't be tried: {_native.bpf_strerror(result)}")


def _in_btf(what: str, name: str, path: Path) -> Answer:
    names = _btf_content(path)
    if names is None:
        return Answer(what, Have.UNKNOWN, f"{path} can't be read", "give the kernel's BTF as a file")
    if f"\0{name}\0".encode() in names:
        return Answer(what, Have.YES, f"named in {path}")
    return Answer(what, Have.NO, f"not named in {path}", "use a newer kernel")


@cache
def _btf_content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _since(kind: MapType | ProgramType) -> str:
    return f" (kernel {SINCE[kind]})" if kind in SINCE else ""
