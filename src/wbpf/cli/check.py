"""`wbpf check`: which programs of a module load on a kernel, and why not."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from wbpf.cli.output import Column, Output, OutputOption, print_next, print_rows, visible
from wbpf.cli.probe_file import ProbeFile
from wbpf.errors import BpfError, ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.btf import Btf
    from wbpf.bpf.check import Finding, Kernel
    from wbpf.bpf.user.subject import Subject
    from wbpf.wasm.settled import Settled

_STYLES = {"yes": "green", "no": "bold red", "could not tell": "yellow"}
_COLUMNS = [
    Column("object", shown=False),
    Column("program"),
    Column("section"),
    Column("loads", style=lambda value: _STYLES.get(value, "")),
    Column("attaches", style=lambda value: _STYLES.get(value, "")),
    Column("reasons", shown=False),
]


_COMMAND = "wbpf.command"
app = typer.Typer(add_completion=False)


class WithCommand(TyperCommand):
    """Keeps what stands behind `--` apart."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[PARAMETERS] [-- COMMAND]"]


class Backend(StrEnum):
    """What `--backend` takes."""

    KERNEL = "kernel"
    USER = "user"


@app.command(cls=WithCommand, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def check(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .wasm module, or an eBPF object (.bpf.o).")],
    btf: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|ARCHIVE", help="BTF of the kernel, if it has none; `none`: as if it had none."
        ),
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option(metavar="RELEASE", help="Another kernel than this host's; its BTF comes by --btf."),
    ] = None,
    backend: Annotated[
        Backend, typer.Option(help="What would run the programs: the kernel, or user space.")
    ] = Backend.KERNEL,
    pid: Annotated[
        int | None, typer.Option(min=1, metavar="PID", help="With --backend user: the process to trace.")
    ] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROGRAM=TARGET", help="Where a program would be attached, if not where its section says."
        ),
    ] = None,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Tell which programs load and attach, and why the others don't.

    Nothing of the file is loaded. Parameters of a module are given as to `wbpf run`: --NAME VALUE.
    With --backend user, -- COMMAND is what would be traced; it is not started.
    Exit status: 0 if all load and attach, as far as can be told; 1 if one does not.
    """
    if str(file).startswith("-"):
        why = "options of the module stand behind its file"
        raise ConfigError(f"there is no option {file}", why, "wbpf check FILE --NAME VALUE")
    probe = ProbeFile.open(file)
    settled = _settled(probe, context.args)
    targets = _targets(probe, attach or [])
    command = context.meta[_COMMAND]
    if backend is Backend.USER:
        if kernel is not None:
            raise ConfigError("--kernel can't be used", "user space has none", "leave it out")
        from wbpf.bpf.user.subject import Subject

        subject = Subject(pid, command)
        is_here, findings = True, _in_user_space(probe, btf, settled, subject, targets)
    else:
        if pid is not None or command:
            given = "--pid" if pid is not None else "-- COMMAND"
            raise ConfigError(f"{given} can't be used", "user space traces one", "--backend user")
        is_here, findings = _in_kernel(probe, btf, kernel, settled, targets)
    rows = [_row(one) for one in findings]
    print_rows(rows, _COLUMNS, output)
    if output is Output.COLUMNS:
        for one in findings:
            _explain(one)
    if _refuses(findings):
        if backend is Backend.KERNEL and is_here:
            _tell_of_user_space(probe, btf, settled, targets)
        raise typer.Exit(1)
    if is_here and backend is Backend.USER:
        print_next(_run_in_user_space(probe, findings, pid, command))
    elif is_here:
        print_next(f"wbpf run {file}")


def _targets(probe: ProbeFile, given: list[str]) -> dict[str, str]:
    """Targets by programs' names. Raises ConfigError: there is no such program."""
    from wbpf.bpf.nearest import hint
    from wbpf.bpf.object_file import ObjectFile

    targets: dict[str, str] = {}
    if not given:
        return targets
    names = [one.name for elf in probe.objects.values() for one in ObjectFile.parse(elf).programs]
    for text in given:
        name, equals, target = text.partition("=")
        if not equals or not target:
            raise ConfigError(f"--attach {text!r} can't be used", "it is no PROGRAM=TARGET")
        if name not in names:
            near = hint(name, names) or f"it has {', '.join(names)}"
            raise ConfigError(f"--attach {text!r} can't be used", f"there is no program {name!r}", near)
        targets[name] = target
    return targets


def _refuses(findings: list[Finding]) -> bool:
    from wbpf.bpf.features import Have

    return any(Have.NO in (one.loads, one.attaches) for one in findings)


def _tell_of_user_space(probe: ProbeFile, btf: str | None, settled: Settled, targets: dict[str, str]) -> None:
    """One line, where the kernel can't be used and user space can."""
    from wbpf.bpf.user.subject import Subject
    from wbpf.wasm.backend import without_kernel

    why = without_kernel(probe.objects, probe.manifest)
    if not why:
        return
    findings = _in_user_space(probe, btf, settled, Subject(), targets)
    if not _refuses(findings):
        command = _run_in_user_space(probe, findings, None, [])
        typer.echo(f"\nThe kernel can't be used here ({why}); user space can: {command}", err=True)


def _run_in_user_space(probe: ProbeFile, findings: list[Finding], pid: int | None, command: list[str]) -> str:
    from wbpf.bpf.user.check import needs_process

    words = f"wbpf run --backend user {probe.path}"
    if pid is not None:
        return f"{words} --pid {pid}"
    if command:
        return f"{words} -- {shlex.join(command)}"
    return f"{words} -- COMMAND" if any(needs_process(one.section) for one in findings) else words


def _in_kernel(
    probe: ProbeFile, btf: str | None, release: str | None, settled: Settled, targets: dict[str, str]
) -> tuple[bool, list[Finding]]:
    from wbpf.bpf.check import check_object

    target = _kernel(probe, btf, release)
    objects = probe.objects.items()
    return target.here, [
        one for name, elf in objects for one in check_object(name, elf, target, settled.apply, targets)
    ]


def _in_user_space(
    probe: ProbeFile, btf: str | None, settled: Settled, subject: Subject, targets: dict[str, str]
) -> list[Finding]:
    from wbpf.bpf.user.check import check_object

    types = _kernel(probe, btf, None).btf if btf else None
    return [
        one
        for name, elf in probe.objects.items()
        for one in check_object(name, elf, types, settled.apply, subject=subject, targets=targets)
    ]


def _settled(probe: ProbeFile, arguments: list[str]) -> Settled:
    """The parameters that are given, and the defaults of the others; one without stays as it is compiled."""
    from wbpf.cli.flags import flag_of, parse
    from wbpf.wasm.settled import Settled

    params = probe.manifest.params if probe.manifest else ()
    given = parse(arguments, {param.name: flag_of(param) for param in params}, f"wbpf inspect {probe.path}")
    if more := [*given.words, *given.rest]:
        raise ConfigError(f"{more[0]!r} can't be used", "one file is checked at a time")
    return Settled.of(probe.manifest, probe.path.name, given.values, complete=False)


def _kernel(probe: ProbeFile, btf: str | None, release: str | None) -> Kernel:
    from wbpf.bpf.btf import Btf, KernelName, find
    from wbpf.bpf.check import Kernel

    host = KernelName.of_host()
    if release is not None and release != host.release:
        if btf is None:
            hint = "give it: --btf FILE, or an archive"
            raise ConfigError(f"kernel {release} can't be checked for", "its BTF is not here", hint)
        name = KernelName(release, host.machine, host.distribution, host.version)
        path = find(name, btf=btf)
        if path is None:
            raise BpfError(f"kernel {release} can't be checked for", f"{btf!r} has no BTF of it")
        return Kernel(_parsed(path), here=False)
    path = find(sections=probe.sections, btf=btf)
    if path is not None:
        return Kernel(_parsed(path), here=btf is None or not Path(btf).is_file())
    own = None
    if btf != "none":
        try:
            own = Btf.of_kernel()
        except BpfError:
            own = None  # each program that needs it says so
    return Kernel(own, here=True)


def _parsed(path: Path) -> Btf:
    from wbpf.bpf.btf import Btf

    return Btf.parse(path.read_bytes())


def _row(finding: Finding) -> dict[str, Any]:
    reasons = [
        {"needs": one.what, "have": one.have.value, "why": one.why, "hint": one.hint}
        for one in finding.reasons
    ]
    attaches = finding.attaches.value if finding.attaches else None
    return {
        "object": finding.object,
        "program": finding.program,
        "section": finding.section,
        "loads": finding.loads.value,
        "attaches": attaches,
        "reasons": reasons,
    }


def _explain(finding: Finding) -> None:
    for one in finding.reasons:
        typer.echo()
        typer.echo(visible(f"{finding.program}: needs {one.what}: {one.have.value}, {one.why}"))
        if one.hint:
            typer.echo(visible(f"  try: {one.hint}"))
