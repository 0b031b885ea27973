"""Where CO-RE relocations find types in user space: our contexts, an application, the kernel."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property, lru_cache
from pathlib import Path

from wbpf.bpf.btf import Btf, Relocation, Resolver
from wbpf.bpf.btf.core import Resolved
from wbpf.bpf.elf import read_elf
from wbpf.errors import BpfError, FormatError, WbpfError


class Sources:
    """Types by their names.

    Args:
        given: that are used instead of all others.
        files_of: lists an application's files, its program first, whose types come before the kernel's.
    """

    def __init__(self, given: Btf | None, files_of: Callable[[], Sequence[Path]] | None = None) -> None:
        self._given = None if given is None else Resolver(given)
        self._files_of = files_of
        self._files: list[Resolver] = []

    def resolve(self, local: Btf, relocation: Relocation) -> Resolved:
        """What a relocation becomes. Raises: as `Resolver.resolve`; BpfError: there are no types at all."""
        root = local[relocation.type]
        if self._given is not None and (self._files_of is None or any(self._given.candidates(root))):
            return self._given.resolve(local, relocation)
        if any(_contexts().candidates(root)):
            return _contexts().resolve(local, relocation)
        for one in self._applications():
            if any(one.candidates(root)):
                return one.resolve(local, relocation)
        return self._kernel.resolve(local, relocation)

    @cached_property
    def _kernel(self) -> Resolver:
        return Resolver(Btf.of_kernel())

    def _applications(self) -> Iterator[Resolver]:
        yield from self._files
        for read in self._unread:
            btf = read()
            if btf is not None:
                self._files.append(Resolver(btf))
                yield self._files[-1]

    @cached_property
    def _unread(self) -> Iterator[Callable[[], Btf | None]]:
        """Each read when what is before it has not sufficed."""
        if self._files_of is None or self._given is not None:
            return iter(())
        return iter([lambda path=path: application_types(path) for path in self._files_of()])


@cache
def _contexts() -> Resolver:
    """Of what programs get as their contexts on this architecture (src/wbpf/bpf/user/contexts.btf.c)."""
    path = Path(__file__).with_name(f"contexts.{platform.machine()}.btf")
    try:
        return Resolver(Btf.parse(path.read_bytes()))
    except OSError as error:
        what = f"there are no contexts for programs on {platform.machine()}"
        raise BpfError(what, error.strerror or str(error), "x86_64 and aarch64 have them") from error


def application_types(path: Path) -> Btf | None:
    """The types of a program file or library: its .BTF, or made of its DWARF. None: it has neither.

    Raises:
        BpfError: it has DWARF, and pyelftools is not installed.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return _read(path, status.st_dev, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: Path, device: int, inode: int, changed_ns: int) -> Btf | None:
    try:
        sections = {section.name: section for section in read_elf(path.read_bytes(), machine=None)}
    except (OSError, FormatError):
        return None
    if ".BTF" in sections:
        return Btf.parse(sections[".BTF"].content)
    if not {".debug_info", ".zdebug_info"} & sections.keys():
        return None
    from wbpf.bpf.btf.dwarf import from_dwarf

    try:
        return Btf.parse(from_dwarf(path))
    except WbpfError as error:
        raise BpfError(f"the types of {path} can't be read", str(error)) from error
