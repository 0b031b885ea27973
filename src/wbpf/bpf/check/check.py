"""Which programs of an object a kernel would load, and why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from wbpf.bpf.btf.core import Resolved
from wbpf.bpf.btf.types import Kind as BtfKind
from wbpf.bpf.check.attach import check_attaching
from wbpf.bpf.check.findings import Finding
from wbpf.bpf.check.kernel import Kernel
from wbpf.bpf.check.trial import Trial
from wbpf.bpf.features import Answer, Have, have_capabilities, have_libbpf
from wbpf.bpf.kernel import Object
from wbpf.bpf.kinds import ProgramType, capabilities_for
from wbpf.bpf.object_file import ObjectFile, ProgramDefinition
from wbpf.bpf.program import Program
from wbpf.bpf.reach import Reached, reached
from wbpf.bpf.target import Kind, section_target

_BY_BTF = {Kind.TP_BTF, Kind.FENTRY, Kind.FEXIT, Kind.FMOD_RET, Kind.LSM, Kind.LSM_CGROUP, Kind.ITER}
_PREFIX = {
    Kind.TP_BTF: "btf_trace_",
    Kind.LSM: "bpf_lsm_",
    Kind.LSM_CGROUP: "bpf_lsm_",
    Kind.ITER: "bpf_iter_",
}


def check_object(
    name: str,
    elf: bytes,
    kernel: Kernel,
    prepare: Callable[[Object], None] | None = None,
    targets: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Check each program of an object by itself.

    Libbpf loads all programs of an object that are not left out (`?` before the section's name), or none.
    What the verifier may find in a program's own logic is not foreseen.

    Args:
        name: of the object, for messages.
        elf: its content.
        kernel: that it would be loaded into.
        prepare: sets its variables and which programs are loaded; the others are left out.
        targets: by programs' names, where they would be attached instead of where their sections say.

    Raises:
        FormatError: it is no eBPF object, or is damaged.
        BpfError: libbpf does not take it.
    """
    file = ObjectFile.parse(elf)
    resolved = _resolve(file, kernel)
    if not (answer := have_libbpf()):
        findings = [Finding(name, one.name, one.section) for one in file.programs]
        for finding in findings:
            finding.load_needs(answer)
        return findings
    with Object(elf, name) as opened:
        wanted = list(opened.programs.values())
        if prepare is not None:
            before = {one.name: one.autoload for one in wanted}
            prepare(opened)
            wanted = [one for one in wanted if one.autoload or not before[one.name]]
            file = _with_constants(file, opened)
        names = {one.name for one in wanted}
        pairs = [(one, opened.programs[one.name]) for one in file.programs if one.name in names]
        findings = []
        for one, program in pairs:
            finding = _check(file, one, program, kernel, resolved, name)
            if finding.loads is not Have.NO:
                check_attaching(finding, program, kernel, (targets or {}).get(program.name))
            findings.append(finding)
        return findings


def _with_constants(file: ObjectFile, opened: Object) -> ObjectFile:
    """The object as its constants have been set."""
    data = dict(file.data)
    for name in opened.variables:
        known = opened.variables.describe(name)
        value = opened.native.get(name, known.size_bytes)
        if known.section.startswith(".rodata") and isinstance(value, bytes) and name in file.places:
            content, at = data[known.section], file.places[name]
            data[known.section] = content[:at] + value + content[at + len(value) :]
    return replace(file, data=data)


def _resolve(file: ObjectFile, kernel: Kernel) -> Mapping[tuple[str, int], Resolved] | None:
    if file.btf is None or kernel.resolver is None:
        return None
    return {(one.section, one.offset): kernel.resolver.resolve(file.btf, one) for one in file.relocations()}


def _check(
    file: ObjectFile,
    definition: ProgramDefinition,
    program: Program,
    kernel: Kernel,
    resolved: Mapping[tuple[str, int], Resolved] | None,
    name: str,
) -> Finding:
    finding = Finding(name, program.name, program.section)
    if kernel.here:
        finding.load_needs(have_capabilities(capabilities_for(program.kind)))
    found = reached(file, definition, resolved)
    trial = _aim(finding, program, kernel)
    if trial is not None:
        answer = kernel.have_program_type(trial, program.section.removeprefix("?"))
        finding.load_needs(answer)
        if answer or not kernel.here:
            for helper in sorted(found.helpers):
                finding.load_needs(kernel.have_helper(trial, helper))
    _check_relocations(finding, file, found, kernel)
    for one in sorted(found.kfuncs):
        finding.load_needs(kernel.have_function(one, f"kernel function {one}"))
    for each in file.maps:  # libbpf makes them all, whoever uses them
        finding.load_needs(kernel.have_map_type(each.type))
    return finding


def _aim(finding: Finding, program: Program, kernel: Kernel) -> Trial | None:
    """The trial for a program's kind and place; None if there is no such place."""
    kind = program.attach_kind
    result = 1 if program.kind == ProgramType.CGROUP_SOCK_ADDR else 0
    sleepable = program.section.partition("/")[0].endswith(".s") or program.kind == ProgramType.SYSCALL
    if kind not in _BY_BTF:
        return Trial(program.kind, program.attach_type, 0, sleepable, result)
    name = section_target(program.section) or program.section.partition("/")[2]
    if not name:
        return None
    if kernel.btf is None:
        finding.load_needs(Answer("kernel BTF", Have.NO, "the kernel has none", "use a kernel with BTF"))
        return None
    if kind is Kind.TP_BTF:
        answer = kernel.have_raw_tracepoint(name)
    else:
        answer = kernel.have_function(name, f"{kind.value} {name}", prefix=_PREFIX.get(kind, ""))
    finding.load_needs(answer)
    sort = BtfKind.TYPEDEF if kind is Kind.TP_BTF else BtfKind.FUNC
    place = kernel.btf.find(_PREFIX.get(kind, "") + name, sort)
    if not answer or place is None:
        return None
    return Trial(program.kind, program.attach_type, place.id, sleepable, result)


def _check_relocations(finding: Finding, file: ObjectFile, found: Reached, kernel: Kernel) -> None:
    if file.relocations() and kernel.resolver is None:
        hint = "give it: --btf FILE or ARCHIVE"
        finding.load_needs(
            Answer("kernel BTF", Have.NO, "the kernel has none, and the object is relocated", hint)
        )
    for one in found.failed:
        line = file.ext.line(one.relocation.section, one.relocation.offset) if file.ext else None
        why, _, hint = one.why.partition("; ")
        where = f", at {line.file}:{line.line}" if line else ""
        finding.load_needs(Answer(one.about, Have.NO, f"{why}{where}", hint))


__all__ = ["check_object"]
