"""Whether there is the place that a program would be attached to in user space."""

from __future__ import annotations

import os
from collections.abc import Iterator

from wbpf.bpf.features import Answer, Have
from wbpf.bpf.nearest import hint
from wbpf.bpf.target import UsdtTarget, UserTarget, parse_targets, section_target
from wbpf.bpf.user.attach import binary, function, usdt, wire
from wbpf.bpf.user.attach.site import demand_site
from wbpf.bpf.user.attach.syscalls import call_of
from wbpf.bpf.user.objects import UserObjectProgram
from wbpf.bpf.user.subject import Subject
from wbpf.errors import WbpfError

#: The modules of `attach` whose places are those of processes.
OF_PROCESSES = ("function", "site", "syscalls", "usdt")


def find_places(
    program: UserObjectProgram, module: str, target: str | None, subject: Subject
) -> Iterator[Answer]:
    """One answer for each place that a program's section or a target names; none where both name none.

    Args:
        program: of an object that is not loaded.
        module: of `attach`, that its section belongs to.
        target: as for `attach`; None for what the section names.
        subject: what it would be attached to.
    """
    what = target or program.section.removeprefix("?")
    try:
        match module:
            case "packets" | "timer":
                if target is not None:
                    yield _free(program, module, target, what)
            case "syscalls":
                call_of(what, program.section, target)
                yield (
                    Answer(what, Have.YES, "there is such a call")
                    if subject.refusal is None
                    else subject.refusal
                )
            case "site":
                name = demand_site(what, program.section, target)
                yield _site(name, subject, what) if subject.refusal is None else subject.refusal
            case _:
                if target or section_target(program.section):
                    for one in parse_targets(program.section, target):
                        assert isinstance(one, (UserTarget, UsdtTarget))
                        yield _place(program, one, subject)
    except WbpfError as error:
        yield _no(what, error)


def _free(program: UserObjectProgram, module: str, target: str, what: str) -> Answer:
    """Of places that are of no process."""
    if module == "timer":
        from wbpf.bpf.user.attach.timer import period_of

        return Answer(what, Have.YES, f"every {period_of(program.name, target)} ns")
    from wbpf.bpf.user.attach.packets import validate_source

    validate_source(program.name, program.kind, target)
    return Answer(what, Have.YES, "its packets can be read")


def _place(program: UserObjectProgram, target: UserTarget | UsdtTarget, subject: Subject) -> Answer:
    place = target.symbol or hex(target.offset) if isinstance(target, UserTarget) else _name(target)
    what = f"{target.path}:{place}"
    if target.pid is not None and subject.answer is None:
        subject = Subject(target.pid)
    try:
        function.demand_machine(what)
        if target.pid not in (None, subject.pid):
            why = f"process {target.pid} is not the one that would be traced"
            return Answer(what, Have.NO, why, "leave out one of them")
        if subject.refusal is not None:
            return subject.refusal
        if isinstance(target, UserTarget):
            return _function(program, target, subject, what)
        return _probe(program, target, subject, what)
    except WbpfError as error:
        return _no(what, error)


def _function(program: UserObjectProgram, target: UserTarget, subject: Subject, what: str) -> Answer:
    kind = function.KINDS[program.attach_kind]
    function.demand_kind(target, kind, what)
    if subject.pid is not None:
        function.find(subject.pid, target, kind, 0, what)
        return Answer(what, Have.YES, "the process has it")
    name, source = function.file_of(target)
    file = subject.file(name, what)
    if isinstance(file, Answer):
        return file
    address = function.address_in(os.getpid(), file, target, source, what)
    function.code_at(os.getpid(), file, address, address, what)
    return _in_file(file, subject, what)


def _probe(program: UserObjectProgram, target: UsdtTarget, subject: Subject, what: str) -> Answer:
    pid = os.getpid() if subject.pid is None else subject.pid
    if subject.pid is None:
        file = subject.file(target.path, what)
        if isinstance(file, Answer):
            return file
        parts = None
    else:
        file, parts = binary.loaded(pid, target.path, what)
    for one in usdt.probes_of(file, target, what):
        if any(each.name == usdt.SPECS for each in program.maps):
            usdt.arguments_of(one.arguments, what)
        where = one.address if parts is None else binary.place(file, parts, one.address, what)
        function.code_at(pid, file, one.address, where, what)
    return _in_file(file, subject, what)


def _in_file(file: binary.Binary, subject: Subject, what: str) -> Answer:
    if subject.is_started_with(file.path):
        return Answer(what, Have.YES, f"{file.path} has it")
    why = f"{file.path} has it, and {subject.command[0]} does not start with that"
    return Answer(what, Have.UNKNOWN, f"{why}: it is traced in what loads or executes it later")


def _site(name: str, subject: Subject, what: str) -> Answer:
    if subject.answer is None:
        return Answer(what, Have.UNKNOWN, "probe sites are those of a process", "--pid PID, or -- COMMAND")
    names = _sites(subject, what)
    if name in names:
        return Answer(what, Have.YES, "it is listed")
    near = hint(name, names) or f"it has {', '.join(sorted(set(names))) or 'none'}"
    if subject.command:
        why = f"{subject.command[0]} has no such site in its files: it may make it, or execute what has it"
        return Answer(what, Have.UNKNOWN, why, near)
    return Answer(what, Have.NO, f"process {subject.pid} has no such site", near)


def _sites(subject: Subject, what: str) -> list[str]:
    """The sites of a process that listens, or those in the files of one that does not yet."""
    if subject.pid is not None and subject.folder is not None:
        try:
            return wire.site_names(subject.pid, subject.folder, what)
        except wire.NotListeningError:
            pass
    names: list[str] = []
    for path in subject.sources():
        file = binary.read(os.getpid(), str(path), what)
        names += [name for name, one in usdt.all_probes(file, what) if one.semaphore in file.sites]
    return names


def _name(target: UsdtTarget) -> str:
    return f"{target.provider}:{target.name}"


def _no(what: str, error: WbpfError) -> Answer:
    return Answer(what, Have.NO, error.why or error.what, error.hint)
