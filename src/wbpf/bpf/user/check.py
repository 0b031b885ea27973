"""Which programs of an object user space would load, and why not: the verifier is asked."""

from __future__ import annotations

from collections.abc import Callable

from wbpf.bpf.btf import Btf
from wbpf.bpf.check import Finding
from wbpf.bpf.features import Answer, Have
from wbpf.bpf.user.attach import have_attach
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import WbpfError


def check_object(
    name: str, elf: bytes, types: Btf | None = None, prepare: Callable[[UserObject], None] | None = None
) -> list[Finding]:
    """Check each program of an object by itself; `attaches` says whether there is such a kind of place.

    Args:
        name: of the object, for messages.
        elf: its content.
        types: what CO-RE relocations are resolved against; None for the kernel's.
        prepare: sets its variables and which programs are loaded; the others are left out.

    Raises:
        FormatError: it is no eBPF object, or is damaged.
    """
    with UserObject(elf, name, types) as opened:
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
            if have_attach(program.section):
                finding.attaches = Have.YES
            else:
                why = f"it has none for programs of section {program.section!r}"
                hint = "wbpf run --once runs it on a context of one's own"
                finding.attach_needs(Answer("a place in user space", Have.NO, why, hint))
            findings.append(finding)
    return findings
