"""Which programs of an object user space would load and attach, and why not: the verifier is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wbpf.bpf.btf import Btf
from wbpf.bpf.check import Finding
from wbpf.bpf.features import Answer, Have
from wbpf.bpf.target import Kind
from wbpf.bpf.user.attach import module_of
from wbpf.bpf.user.objects import UserObject, UserObjectProgram
from wbpf.bpf.user.places import OF_PROCESSES, find_places
from wbpf.bpf.user.subject import Subject
from wbpf.errors import WbpfError


def check_object(
    name: str,
    elf: bytes,
    types: Btf | None = None,
    prepare: Callable[[UserObject], None] | None = None,
    *,
    subject: Subject | None = None,
    targets: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Check each program of an object by itself.

    Args:
        name: of the object, for messages.
        elf: its content.
        types: what CO-RE relocations are resolved against; None for the subject's, then the kernel's.
        prepare: sets its variables and which programs are loaded; the others are left out.
        subject: the process or command that they would be attached to; None: nobody is given.
        targets: by programs' names, where they would be attached instead of where their sections say.

    Raises:
        FormatError: it is no eBPF object, or is damaged.
    """
    subject = subject or Subject()
    files_of = subject.sources if subject.answer else None
    with UserObject(elf, name, types, files_of=files_of) as opened:
        before = {one.name: one.autoload for one in opened.programs.values()}
        if prepare is not None:
            prepare(opened)
        wanted = [one for one in opened.programs.values() if one.autoload or not before[one.name]]
        try:
            refusals = opened.check()
        except WbpfError as error:  # of all: its maps can't be made, or there are no types
            refusals = dict.fromkeys(opened.programs, error)
        findings = []
        for program in wanted:
            finding = Finding(name, program.name, program.section)
            refusal = refusals[program.name]
            if refusal is not None:
                why = refusal.why or refusal.what
                finding.load_needs(Answer("to be loaded in user space", Have.NO, why, refusal.hint))
            _check_attaching(finding, program, (targets or {}).get(program.name), subject)
            findings.append(finding)
    return findings


def needs_process(section: str) -> bool:
    """Whether programs of a section are attached to processes."""
    return module_of(section) in OF_PROCESSES


def _check_attaching(
    finding: Finding, program: UserObjectProgram, target: str | None, subject: Subject
) -> None:
    module = module_of(program.section)
    if program.attach_kind is Kind.NOT_ATTACHED and module is None:  # the guest runs it
        return
    if module is None:
        why = f"it has none for programs of section {program.section!r}"
        hint = "wbpf run --once runs it on a context of one's own"
        finding.attach_needs(Answer("a place in user space", Have.NO, why, hint))
        return
    for answer in find_places(program, module, target, subject):
        finding.attach_needs(answer)
