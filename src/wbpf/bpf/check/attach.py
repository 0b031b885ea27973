"""Whether the place that a program's section names is there."""

from __future__ import annotations

import re
from pathlib import Path

from wbpf.bpf import target as targets
from wbpf.bpf.check.findings import Finding
from wbpf.bpf.check.kernel import Kernel
from wbpf.bpf.elf import read_elf
from wbpf.bpf.features import Answer, Have
from wbpf.bpf.nearest import hint
from wbpf.bpf.program import Program
from wbpf.bpf.target import Kind
from wbpf.errors import FormatError, WbpfError

_INTERFACES = Path("/sys/class/net")
_SOURCES = Path("/sys/bus/event_source/devices")
_KPROBES = {Kind.KPROBE, Kind.KRETPROBE}
_MULTI = {Kind.KPROBE_MULTI, Kind.KRETPROBE_MULTI}
_SYSCALLS = {Kind.KSYSCALL, Kind.KRETSYSCALL}
_UPROBES = {Kind.UPROBE, Kind.URETPROBE, Kind.USDT}
_SYMTAB, _DYNSYM = 2, 11
_FPROBES = "register_fprobe_ips"  # kernel 5.18, CONFIG_FPROBE


def check_attaching(finding: Finding, program: Program, kernel: Kernel, text: str | None = None) -> None:
    """Ask for all that attaching needs, by the section's name or a target; nothing where there is neither."""
    if not text and not program.is_self_attaching:
        return
    try:
        where = targets.parse_targets(program.section, text)
    except WbpfError as error:
        finding.attach_needs(Answer(f"target {text or program.section}", Have.NO, error.why, error.hint))
        return
    for one in where:
        for answer in _answers(program.attach_kind, one, kernel):
            finding.attach_needs(answer)


def _answers(kind: Kind, target: targets.Target, kernel: Kernel) -> list[Answer]:
    if isinstance(target, targets.TracepointTarget):
        return [kernel.have_tracepoint(target.category, target.name)]
    if isinstance(target, targets.UserTarget):
        return [_event_source("uprobe", kernel), _have_symbol(target, kernel)]
    if isinstance(target, targets.UsdtTarget):
        return [_event_source("uprobe", kernel), _have_usdt(target, kernel)]
    if isinstance(target, targets.InterfaceTarget | targets.TcTarget):
        return [_have_path(f"interface {target.interface}", _INTERFACES / target.interface, kernel)]
    if isinstance(target, targets.PathTarget) and kind is not Kind.SOCKMAP:
        return [_have_path(target.path, Path(target.path), kernel)]
    if not isinstance(target, targets.FunctionTarget):
        return [Answer("its place", Have.YES, "none is needed")]
    if kind is Kind.RAW_TRACEPOINT:
        return [kernel.have_raw_tracepoint(target.name)]
    if kind in _KPROBES:
        return [_event_source("kprobe", kernel), _have_function(target.name, kernel)]
    if kind in _SYSCALLS:
        return [_event_source("kprobe", kernel)]
    if kind in _MULTI:
        return [_have_multi(kernel), _have_pattern(target.name, kernel)]
    return [Answer("its place", Have.YES, "it was loaded for it")]


def _event_source(name: str, kernel: Kernel) -> Answer:
    what = f"{name}s"
    if not kernel.here:
        return Answer(what, Have.UNKNOWN, "BTF does not tell of them")
    if (_SOURCES / name).exists():
        return Answer(what, Have.YES, str(_SOURCES / name))
    why = f"the kernel was built without CONFIG_{name.upper()}S"
    return Answer(what, Have.NO, why, "use a tracepoint" + (", or fentry" if name == "kprobe" else ""))


def _have_path(what: str, path: Path, kernel: Kernel) -> Answer:
    if not kernel.here:
        return Answer(what, Have.UNKNOWN, "it is one of a host")
    if path.exists():
        return Answer(what, Have.YES, str(path))
    try:
        near = hint(path.name, [one.name for one in path.parent.iterdir()])
    except OSError:
        near = ""
    return Answer(what, Have.NO, "there is none", near or "check the name")


def _have_function(name: str, kernel: Kernel) -> Answer:
    what = f"kernel function {name}"
    if kernel.functions:
        if name in kernel.functions:
            return Answer(what, Have.YES, "/proc/kallsyms")
        return Answer(what, Have.NO, "the kernel has no such function", hint(name, kernel.functions))
    found = kernel.have_function(name, what)
    return (
        found if found else Answer(what, Have.UNKNOWN, "only /proc/kallsyms knows all functions", found.hint)
    )


def _have_multi(kernel: Kernel) -> Answer:
    what = "kprobes by the function tracer"
    if not kernel.functions:
        return Answer(what, Have.UNKNOWN, "/proc/kallsyms would tell")
    if _FPROBES in kernel.functions:
        return Answer(what, Have.YES, "/proc/kallsyms")
    return Answer(what, Have.NO, "needs CONFIG_FPROBE, kernel 5.18", "use kprobe with several targets")


def _have_pattern(pattern: str, kernel: Kernel) -> Answer:
    what = f"functions {pattern}"
    if not kernel.functions:
        return Answer(what, Have.UNKNOWN, "/proc/kallsyms would tell")
    matching = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    have = any(matching.fullmatch(name) for name in kernel.functions)
    return Answer(what, Have.YES if have else Have.NO, "/proc/kallsyms" if have else "none is called so")


def _elf(path: str, kernel: Kernel, what: str) -> tuple[list[str], bytes] | Answer:
    """The symbols and the notes of a program or library."""
    if not kernel.here:
        return Answer(what, Have.UNKNOWN, "its files are not here")
    if "/" not in path:
        return Answer(what, Have.UNKNOWN, f"{path!r} is searched when it is attached")
    try:
        sections = read_elf(Path(path).read_bytes(), machine=None)
    except (OSError, FormatError) as error:
        why = f"there is no file {path!r}" if isinstance(error, FileNotFoundError) else str(error)
        return Answer(what, Have.NO, why, "check the path")
    tables = [sections[one.link].content for one in sections if one.kind in (_SYMTAB, _DYNSYM)]
    names = [name.decode(errors="replace") for table in tables for name in table.split(b"\0")]
    notes = b"".join(one.content for one in sections if one.name == ".note.stapsdt")
    return names, notes


def _have_symbol(target: targets.UserTarget, kernel: Kernel) -> Answer:
    what = f"{target.path}:{target.symbol or hex(target.offset)}"
    found = _elf(target.path, kernel, what)
    if isinstance(found, Answer):
        return found
    names = set(found[0])
    if not target.symbol or target.symbol in names:
        return Answer(what, Have.YES, "its symbols")
    return Answer(
        what, Have.NO, f"{target.path} has no function {target.symbol!r}", hint(target.symbol, names)
    )


def _have_usdt(target: targets.UsdtTarget, kernel: Kernel) -> Answer:
    what = f"{target.path}:{target.provider}:{target.name}"
    found = _elf(target.path, kernel, what)
    if isinstance(found, Answer):
        return found
    if f"{target.provider}\0{target.name}\0".encode() in found[1]:
        return Answer(what, Have.YES, "its notes")
    return Answer(what, Have.NO, "the file has no such probe", "`readelf -n FILE` lists its probes")
