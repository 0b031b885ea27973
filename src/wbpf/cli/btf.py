"""`wbpf btf`: descriptions of kernels' types, for kernels that have none and for who writes programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wbpf.cli.output import Column, Output, OutputOption, note, print_next, print_rows
from wbpf.errors import BpfError

if TYPE_CHECKING:
    from wbpf.bpf.btf import Btf

app = typer.Typer(
    no_args_is_help=True, help="Read, reduce, fetch and make BTF: what kernels say of their types."
)

SourceArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Raw BTF, or an ELF file with .BTF; without: this kernel's."),
]
ToOption = Annotated[
    Path | None, typer.Option("--to", metavar="FILE", help="Write here, not to standard output.")
]


@app.command()
def dump(
    source: SourceArgument = None,
    name: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Types to show; with what they need.")
    ] = None,
    header: Annotated[bool, typer.Option(help="Make a vmlinux.h, for programs to include.")] = False,
    to: ToOption = None,
) -> None:
    """Print types as C: all of them, those named, or as a vmlinux.h."""
    btf = _read(source)
    types = None
    if name:
        types = []
        for one in name:
            found = btf.find(one)
            if found is None:
                from wbpf.bpf.nearest import hint

                raise BpfError(f"there is no type {one!r}", "the BTF does not have it", hint(one, btf.names))
            types.append(found.id)
    guard = "__VMLINUX_H__" if header else ""
    _write(btf.to_c(types, guard=guard, access_index=header).encode(), to)


@app.command("min")
def minimise(
    objects: Annotated[list[Path], typer.Argument(metavar="OBJECT...", help="eBPF objects: .bpf.o files.")],
    btf: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A kernel's BTF; without: this kernel's.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The reduced BTF.")] = Path("min.btf"),
) -> None:
    """Reduce a kernel's BTF to what objects need of it."""
    from wbpf.bpf.btf import reduce
    from wbpf.bpf.object_file import ObjectFile

    whole = _read(btf)
    files = [ObjectFile.parse(_bytes(path)) for path in objects]
    content = reduce(whole, [(file.btf, file.relocations()) for file in files if file.btf])
    to.write_bytes(content)
    note(f"{len(content)} bytes in {to}")


@app.command()
def fetch(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="A folder or URL, laid out as BTFHub's.")],
    release: Annotated[str | None, typer.Option(metavar="RELEASE", help="As `uname -r` says.")] = None,
    distribution: Annotated[str | None, typer.Option(metavar="ID", help="As in /etc/os-release.")] = None,
    version: Annotated[str | None, typer.Option(metavar="VERSION", help="As in /etc/os-release.")] = None,
    machine: Annotated[str | None, typer.Option(metavar="ARCH", help="x86_64 or arm64.")] = None,
    sums: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Trusted checksums, as of sha256sum.")
    ] = None,
    output: OutputOption = Output.COLUMNS,
) -> None:
    """Fetch a kernel's BTF from an archive; of this host's kernel unless another is named."""
    from wbpf.bpf.btf import KernelName
    from wbpf.bpf.btf.archive import Archive
    from wbpf.bpf.btf.host import architecture

    host = KernelName.of_host()
    kernel = KernelName(
        release or host.release,
        architecture(machine or host.machine),
        distribution or host.distribution,
        version or host.version,
    )
    path = Archive(archive, sums=sums).find(kernel)
    if path is None:
        raise BpfError(f"{archive!r} has no BTF of this kernel", f"there is no {kernel.path}", "see --help")
    print_rows([{"kernel": kernel.path, "file": str(path)}], [Column("kernel"), Column("file")], output)
    print_next(f"wbpf check --btf {path} app.wasm", f"wbpf run --btf {path} app.wasm")


@app.command("from-dwarf")
def from_dwarf(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ELF file with DWARF, such as a vmlinux.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The BTF.")] = Path("out.btf"),
) -> None:
    """Make BTF of DWARF, as pahole does."""
    from wbpf.bpf.btf.dwarf import from_dwarf

    content = from_dwarf(file)
    to.write_bytes(content)
    note(f"{len(content)} bytes in {to}")
    print_next(f"wbpf btf dump {to}")


def _read(path: Path | None) -> Btf:
    from wbpf.bpf.btf import Btf
    from wbpf.bpf.elf import read_elf

    if path is None:
        return Btf.of_kernel()
    content = _bytes(path)
    if content.startswith(b"\x7fELF"):
        found = next((one.content for one in read_elf(content, machine=None) if one.name == ".BTF"), None)
        if found is None:
            raise BpfError(f"{str(path)!r} has no BTF", "", "make it of DWARF: wbpf btf from-dwarf FILE")
        content = found
    return Btf.parse(content)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BpfError(
            f"{str(path)!r} can't be read", error.strerror or str(error), "check the path"
        ) from None


def _write(content: bytes, to: Path | None) -> None:
    if to is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        to.write_bytes(content)
