"""`wbpf check`: which programs of a module load on a kernel, and why not."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wbpf.cli.output import Column, Output, OutputOption, print_next, print_rows, visible
from wbpf.cli.probe_file import ProbeFile
from wbpf.errors import BpfError, ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.btf import Btf
    from wbpf.bpf.check import Finding, Kernel
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


class Backend(StrEnum):
    """What `--backend` takes."""

    KERNEL = "kernel"
    USER = "user"


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
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Tell which programs load and attach, and why the others don't.

    Nothing of the file is loaded. Parameters of a module are given as to `wbpf run`: --NAME VALUE.
    Exit status: 0 if all load and attach, as far as can be told; 1 if one does not.
    """
    if str(file).startswith("-"):
        why = "options of the module stand behind its file"
        raise ConfigError(f"there is no option {file}", why, "wbpf check FILE --NAME VALUE")
    probe = ProbeFile.open(file)
    settled = _settled(probe, context.args)
    if backend is Backend.USER:
        if kernel is not None:
            raise ConfigError("--kernel can't be used", "user space has none", "leave it out")
        is_here, findings = True, _in_user_space(probe, btf, settled)
    else:
        is_here, findings = _in_kernel(probe, btf, kernel, settled)
    rows = [_row(one) for one in findings]
    print_rows(rows, _COLUMNS, output)
    if output is Output.COLUMNS:
        for one in findings:
            _explain(one)
    if any("no" in (row["loads"], row["attaches"]) for row in rows):
        raise typer.Exit(1)
    if is_here:
        print_next(f"wbpf run {'--backend user ' if backend is Backend.USER else ''}{file}")


def _in_kernel(
    probe: ProbeFile, btf: str | None, release: str | None, settled: Settled
) -> tuple[bool, list[Finding]]:
    from wbpf.bpf.check import check_object

    target = _kernel(probe, btf, release)
    objects = probe.objects.items()
    return target.here, [
        one for name, elf in objects for one in check_object(name, elf, target, settled.apply)
    ]


def _in_user_space(probe: ProbeFile, btf: str | None, settled: Settled) -> list[Finding]:
    from wbpf.bpf.user.check import check_object

    types = _kernel(probe, btf, None).btf if btf else None
    objects = probe.objects.items()
    return [one for name, elf in objects for one in check_object(name, elf, types, settled.apply)]


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
