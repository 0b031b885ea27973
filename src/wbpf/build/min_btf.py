"""Reduced BTFs of kernels for a module: what its objects' relocations need, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wbpf.bpf.btf import Btf, reduce, write_embedded
from wbpf.bpf.btf.archive import Archive
from wbpf.bpf.btf.host import KernelName, architecture
from wbpf.build.needs import object_file
from wbpf.errors import BuildError

_ARCHITECTURES = ("x86_64", "arm64")
_SUFFIXES = (".btf", ".btf.tar.xz")


def min_btf(places: Iterable[Path], objects: Sequence[bytes]) -> bytes:
    """The content of the section `wbpf.btf`.

    Args:
        places: files of BTF, `[ARCHITECTURE/]RELEASE.btf`; folders of such files, or in BTFHub's layout.
        objects: the module's eBPF objects.

    Raises:
        BuildError: there is no BTF in a place.
    """
    files = [object_file(elf) for elf in objects]
    needed = [(file.btf, file.relocations()) for file in files if file.btf is not None]
    found: dict[tuple[str, str], bytes] = {}
    for place in places:
        before = len(found)
        for kernel, content in _kernels(place):
            found[kernel] = reduce(Btf.parse(content), needed)
        if len(found) == before:
            why = "there is no such file" if not place.exists() else "there is no RELEASE.btf in it"
            raise BuildError(
                f"BTF of {str(place)!r} can't be embedded", why, "give files RELEASE.btf, or folders"
            )
    return write_embedded(found)


def _kernels(place: Path) -> Iterator[tuple[tuple[str, str], bytes]]:
    """Architecture and release of each kernel in a place, and its BTF."""
    if place.is_file():
        yield _named(place), place.read_bytes()
        return
    for path in sorted(path for suffix in _SUFFIXES for path in place.rglob(f"*{suffix}")):
        machine, release = _named(path)
        parts = path.relative_to(place).parts
        if len(parts) == 4:
            kept = Archive(str(place)).find(KernelName(release, machine, parts[0], parts[1]))
            if kept is not None:
                yield (machine, release), kept.read_bytes()
        elif path.suffix == ".btf":
            yield (machine, release), path.read_bytes()


def _named(path: Path) -> tuple[str, str]:
    machine = architecture(path.parent.name)
    release = path.name.removesuffix(".tar.xz").removesuffix(".btf")
    return (machine if machine in _ARCHITECTURES else KernelName.of_host().machine), release
