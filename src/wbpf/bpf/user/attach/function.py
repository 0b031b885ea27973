"""Programs at functions of a process: `uprobe/BINARY:SYMBOL[+OFFSET]`, and `uretprobe/…` at their returns."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wbpf.bpf.target import Kind, UserTarget, kind_of, parse_targets
from wbpf.bpf.user.attach import binary
from wbpf.bpf.user.attach.lines import address_of
from wbpf.bpf.user.attach.link import Detached
from wbpf.bpf.user.attach.moving import JUMP_BYTES, move
from wbpf.bpf.user.attach.traced import Link, Traced
from wbpf.bpf.user.attach.wire import AttachKind, Code, Spot
from wbpf.errors import BpfError, ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.user.attach.link import UserLink
    from wbpf.bpf.user.objects import UserObjectProgram

_BEHIND = 64
_LINE = re.compile(r"(.+?):([^:]+\.\w+)")  # and the line is taken for an offset
_FUNCTION_MOST = 1 << 20
KINDS = {Kind.UPROBE: AttachKind.FUNCTION_ENTRY, Kind.URETPROBE: AttachKind.FUNCTION_RETURN}


class Links:
    """A program attached to several places."""

    def __init__(self, links: list[Link]) -> None:
        self._links = links

    def detach(self) -> Detached:
        """As `Link.detach`, of all."""
        ended = [one.detach() for one in self._links]
        return Detached(sum(one.stopped for one in ended), max(one.missed for one in ended))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BpfError):
            self.detach()


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> UserLink:
    """To the functions that the section or a target names.

    Raises:
        ConfigError: no function or no process is named.
        AccessError: the process is not to be traced by this one.
        BpfError: there is no such function, or it can't be hooked.
    """
    what = f"program {program.name!r} can't be attached"
    kind = kind_of(program.section)
    links: list[Link] = []
    for one in parse_targets(program.section, target):
        assert isinstance(one, UserTarget)
        of = Traced.of(one.pid) if one.pid is not None and traced is None else traced
        if of is None:
            raise ConfigError(what, "a function is one of a process", "give the process: --pid PID")
        if one.pid not in (None, of.pid):
            raise ConfigError(what, f"process {one.pid} is not the one that is traced, {of.pid}")
        try:
            links.append(attach_function(of, one, program, KINDS[kind], cookie))
        except BaseException:
            for link in links:
                link.__exit__(None, None, None)
            raise
    return links[0] if len(links) == 1 else Links(links)


def attach_function(
    traced: Traced, target: UserTarget, program: UserObjectProgram, kind: AttachKind, cookie: int = 0
) -> Link:
    """Attach a program to one function of a process and its descendants. Raises: as `attach`."""
    name = target.symbol + (f"+{target.offset:#x}" if target.offset else "")
    what = f"can't attach to {target.path}:{name} of process {traced.pid}"
    demand_kind(target, kind, what)
    return traced.link(program, lambda pid: find(pid, target, kind, cookie, what), what)


def demand_kind(target: UserTarget, kind: AttachKind, what: str) -> None:
    """Raise what is wrong with a target, wherever it may be."""
    demand_machine(what)
    if kind == AttachKind.FUNCTION_RETURN and target.symbol and target.offset:
        raise ConfigError(what, "a return is one of a function, not of a place in it", "leave the offset")


def demand_machine(what: str) -> None:
    """Raise BpfError where functions are not hooked."""
    if platform.machine() != "x86_64":
        raise BpfError(what, f"functions are not hooked on {platform.machine()}", "use a probe site")


def find(pid: int, target: UserTarget, kind: AttachKind, cookie: int, what: str) -> Spot:
    """Where a function is in a process, and how its begin is replaced. Raises: as `attach`."""
    name, source = file_of(target)
    file, parts = binary.loaded(pid, name, what)
    address = address_in(pid, file, target, source, what)
    return spot_at(pid, file, parts, address, kind, cookie, what)


def file_of(target: UserTarget) -> tuple[str, str]:
    """The file that a target names, and the source file if it names a line of one."""
    line = _LINE.fullmatch(target.path) if not target.symbol and not Path(target.path).exists() else None
    return (line[1], line[2]) if line else (target.path, "")


def address_in(pid: int, file: binary.Binary, target: UserTarget, source: str, what: str) -> int:
    """Where a target is in a file that a process sees. Raises BpfError: it is not there."""
    if source:
        return address_of(Path(f"/proc/{pid}/root{file.path}"), source, target.offset, what)
    if not target.symbol:
        return file.address(target.offset, what)
    function = file.function(target.symbol, what)
    if target.offset and target.offset >= function.size:
        raise BpfError(what, f"{target.symbol!r} has {function.size} bytes")
    return function.address + target.offset


def spot_at(
    pid: int,
    file: binary.Binary,
    parts: list[binary.Mapping],
    address: int,
    kind: AttachKind,
    cookie: int,
    what: str,
) -> Spot:
    """The same for an address of a file."""
    where = binary.place(file, parts, address, what)
    code, inside = code_at(pid, file, address, where, what)
    return Spot(kind, where, cookie, code=code, inside=inside)


def code_at(pid: int, file: binary.Binary, address: int, where: int, what: str) -> tuple[Code, bool]:
    """How the instructions at an address of a file are replaced, and whether they are no function's first.

    Args:
        pid: of a process that sees the file.
        file: it.
        address: in it.
        where: they are in the process.
        what: can't be done if this raises.

    Raises:
        UnmovableError: they can't be replaced.
        BpfError: the file can't be read, or there is no disassembler.
    """
    around = file.around(address)
    start = around.address if around is not None else address
    size = min(around.size if around is not None else 0, _FUNCTION_MOST)
    if any(address < one.address < address + JUMP_BYTES for one in file.functions.values()):
        raise BpfError(what, "another function begins at its second instruction")
    body = _content(pid, file, start, size + address - start + _BEHIND, what)
    code = move(body, where - (address - start), where, size, what)
    return code, around is None or address != start


def _content(pid: int, file: binary.Binary, address: int, size: int, what: str) -> bytes:
    """Of the file, not of the process: there it may be hooked."""
    try:
        with Path(f"/proc/{pid}/root{file.path}").open("rb") as content:
            content.seek(file.offset(address, what))
            return content.read(size)
    except OSError as error:
        raise BpfError(what, f"{file.path} can't be read: {error.strerror}") from error
