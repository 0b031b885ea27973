"""eBPF objects in the kernel, through libbpf: open, load, attach."""

from __future__ import annotations

import errno
import os
import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from wbpf import _native
from wbpf.bpf.elf import sections, strings
from wbpf.bpf.features import Answer, have_kernel_btf, have_libbpf, have_privileges
from wbpf.bpf.maps import Map
from wbpf.errors import AccessError, BpfError, WbpfError

_RIGHTS = (-errno.EPERM, -errno.EACCES)
_SCHEMAS = ".wbpf.schemas"
_STATISTICS = re.compile(r"processed \d+ insns|libbpf: |verification time|stack depth")


class Link:
    """An attached program. It is detached with its object, and with this process, however that ends."""

    def __init__(self, parts: list[_native.BpfLink]) -> None:
        self._parts = parts

    def detach(self) -> None:
        """Detach the program."""
        while self._parts:
            self._parts.pop().destroy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


class Program:
    """One program of an object.

    Args:
        section: of the object file, which says what it attaches to.
        kind: of `enum bpf_prog_type`.
    """

    def __init__(self, owner: Object, name: str, section: str, kind: int) -> None:
        self._owner = owner
        self.name, self.section, self.kind = name, section, kind

    def attach(self) -> Link:
        """Attach it to what its section names.

        Raises:
            BpfError: there is no such place, or the kernel refuses.
            AccessError: a right is missing; the text names it.
        """
        return self._owner.keep_link([self._linked(*self._owner.native.attach(self.name))])

    def attach_clock(self, period_ns: int) -> Link:
        """Run it, a program for perf events, each time that a processor was busy for so long."""
        parts: list[_native.BpfLink] = []
        link = self._owner.keep_link(parts)
        try:
            parts.extend(
                self._linked(*self._owner.native.attach_clock(self.name, period_ns, cpu))
                for cpu in sorted(os.sched_getaffinity(0))
            )
        except WbpfError:
            link.detach()
            raise
        return link

    def run(self, *arguments: int) -> int:
        """Run it, a program for raw tracepoints, once, here and now; returns its result."""
        fd = next(fd for name, _, _, fd in self._owner.native.programs() if name == self.name)
        error, result = _native.bpf_program_run(fd, list(arguments))
        if error:
            raise BpfError(f"program {self.name!r} can't be run", os.strerror(-error))
        return result

    def _linked(self, part: _native.BpfLink | None, error: int) -> _native.BpfLink:
        if part is None:
            what = f"program {self.name!r} can't be attached to {self.section!r}"
            raise _explain(what, error, self._owner.native.log())
        return part


class Object:
    """An eBPF object file. Closing it detaches its programs and frees its maps.

    Args:
        elf: the file's content.
        name: for messages.
        btf: a file with the kernel's BTF; None for the kernel's own.

    Raises:
        BpfError: libbpf is missing or does not take the file.
        FormatError: it is no eBPF object.
    """

    def __init__(self, elf: bytes, name: str, btf: str | os.PathLike[str] | None = None) -> None:
        self.name = name
        self._links = ExitStack()
        self._btf = None if btf is None else os.fspath(btf)
        what = f"eBPF object {name!r} can't be opened"
        #: descriptors of the schemas that its programs record by
        self.schemas = strings(sections(elf).get(_SCHEMAS, b""))
        demand(have_libbpf(), what)
        native, error, log = _native.BpfObject.open(elf, re.sub(r"\W", "_", name)[:15], self._btf)
        if native is None:
            raise _explain(what, error, log)
        self.native = native
        self.programs = {row[0]: Program(self, *row[:3]) for row in native.programs()}

    @classmethod
    def open(cls, path: str | os.PathLike[str], btf: str | os.PathLike[str] | None = None) -> Self:
        """Open an object file."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            what = f"eBPF object {os.fspath(path)!r} can't be opened"
            raise BpfError(what, str(error), "check the path") from error
        return cls(content, Path(path).name.removesuffix(".o").removesuffix(".bpf"), btf)

    @property
    def maps(self) -> dict[str, Map]:
        """Its maps, by name; they have a descriptor once it is loaded."""
        return {row[0]: Map(*row) for row in self.native.maps()}

    def set(self, variable: str, value: bytes) -> None:
        """Give a global variable a value, before loading.

        Raises:
            BpfError: there is no such variable, or it has another size.
        """
        if error := self.native.set(variable, value):
            why = "there is none" if error == -errno.ENOENT else f"it does not have {len(value)} bytes"
            raise BpfError(f"variable {variable!r} of {self.name!r} can't be set", why)

    def resize_map(self, name: str, *, value_bytes: int = 0, entries: int = 0) -> None:
        """Change the size of a map, before loading; 0 leaves it as it is."""
        if error := self.native.resize_map(name, value_bytes, entries):
            why = "there is none" if error == -errno.ENOENT else os.strerror(-error)
            raise BpfError(f"map {name!r} of {self.name!r} can't be resized", why)

    def drop_map(self, name: str) -> None:
        """Do without a map that no program of this kernel uses, before loading."""
        if error := self.native.drop_map(name):
            raise BpfError(f"map {name!r} of {self.name!r} can't be dropped", os.strerror(-error))

    def load(self) -> None:
        """Give programs and maps to the kernel.

        Raises:
            AccessError: a right is missing; the text names it.
            BpfError: the verifier refuses a program, or the kernel lacks what it needs.
        """
        if error := self.native.load():
            log = self.native.log()
            failed = re.search(r"prog '(\w+)': ", log)
            part = f"program {failed[1]!r} of {self.name!r}" if failed else f"eBPF object {self.name!r}"
            raise _explain(f"{part} can't be loaded", error, log, self._btf)

    def keep_link(self, parts: list[_native.BpfLink]) -> Link:
        """A link that is detached at the latest when the object is closed."""
        return self._links.enter_context(Link(parts))

    def close(self) -> None:
        """Detach its programs and let go of it."""
        self._links.close()
        self.native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def demand(answer: Answer, what: str) -> None:
    """Raise what failed and what is missing for it, unless the answer is yes."""
    if not answer:
        raise BpfError(what, f"needs {answer.what}: {answer.why}", answer.hint)


def _explain(what: str, error: int, log: str, btf: str | None = None) -> WbpfError:
    rights = have_privileges()
    if error in _RIGHTS and not rights:
        return AccessError(what, rights.why, rights.hint)
    explained = BpfError(what, reason_of(log) or os.strerror(-error))
    if "vmlinux BTF" in log or "valid kernel BTF" in log:
        found = have_kernel_btf(btf or "/sys/kernel/btf/vmlinux")
        if not found:
            explained = BpfError(what, f"needs {found.what}: {found.why}", found.hint)
    explained.log = log
    return explained


def reason_of(log: str) -> str:
    """The line that matters: of a verifier's log the last before its statistics, else libbpf's first."""
    _, found, verifier = log.partition("-- BEGIN PROG LOAD LOG --\n")
    if found:
        lines = verifier.partition("-- END PROG LOAD LOG --")[0].splitlines()
        said = [line for line in lines if line and not _STATISTICS.match(line)]
        return said[-1] if said else ""
    lines = [line.removeprefix("libbpf: ") for line in log.splitlines() if line]
    return lines[0] if lines else ""
