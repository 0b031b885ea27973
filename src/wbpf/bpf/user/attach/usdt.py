"""Programs at USDT probes of a process: `usdt/BINARY:PROVIDER:NAME`, with libbpf's usdt.bpf.h."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING

from wbpf.bpf.nearest import hint
from wbpf.bpf.target import UsdtTarget, parse_targets
from wbpf.bpf.user.attach import binary
from wbpf.bpf.user.attach.function import Links, demand_machine, spot_at
from wbpf.bpf.user.attach.traced import Link, Traced
from wbpf.bpf.user.attach.wire import AttachKind, Spot
from wbpf.errors import BpfError, ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.user.attach.link import UserLink
    from wbpf.bpf.user.objects import UserObjectProgram

SPECS = "__bpf_usdt_specs"
_ARGUMENTS_MOST = 12
_ARGUMENT, _TAIL = Struct("<QIhBb"), Struct("<Qh6x")
_CONSTANT, _REGISTER, _MEMORY = range(3)
#: Where registers are in struct pt_regs of x86-64.
_REGISTERS = {
    name: 8 * at
    for at, names in enumerate(
        (
            *("r15", "r14", "r13", "r12", "rbp ebp bp bpl", "rbx ebx bx bl", "r11", "r10", "r9", "r8"),
            *("rax eax ax al", "rcx ecx cx cl", "rdx edx dx dl", "rsi esi si sil", "rdi edi di dil"),
            *("", "rip", "", "", "rsp esp sp spl"),
        )
    )
    for name in names.split()
}
_NOTE = Struct("<III")
_PLACES = Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class Probe:
    """One place of a static probe. Args: semaphore: an address, or 0; arguments: as its note says."""

    address: int
    semaphore: int
    arguments: str


def attach(program: UserObjectProgram, target: str | None, cookie: int, traced: Traced | None) -> UserLink:
    """To all places of the probes that the section or a target names. Raises: as `function.attach`."""
    what = f"program {program.name!r} can't be attached"
    links: list[Link] = []
    for one in parse_targets(program.section, target):
        assert isinstance(one, UsdtTarget)
        of = Traced.of(one.pid) if one.pid is not None and traced is None else traced
        if of is None:
            raise ConfigError(what, "a probe is one of a process", "give the process: --pid PID")
        try:
            links += _attach(of, one, program, cookie)
        except BaseException:
            for link in links:
                link.__exit__(None, None, None)
            raise
    return links[0] if len(links) == 1 else Links(links)


def _attach(traced: Traced, target: UsdtTarget, program: UserObjectProgram, cookie: int) -> Iterator[Link]:
    what = f"can't attach to {target.path}:{target.provider}:{target.name} of process {traced.pid}"
    demand_machine(what)
    for at in range(len(_probes(traced.pid, target, what)[2])):

        def find(pid: int, at: int = at) -> Spot:
            file, parts, probes = _probes(pid, target, what)
            one = probes[at]
            given = _cookie(program, one.arguments, cookie, what)
            spot = spot_at(pid, file, parts, one.address, AttachKind.FUNCTION_ENTRY, given, what)
            semaphore = spot.where - one.address + one.semaphore if one.semaphore else 0
            return Spot(spot.kind, spot.where, given, code=spot.code, inside=True, semaphore=semaphore)

        yield traced.link(program, find, what)


def _probes(
    pid: int, target: UsdtTarget, what: str
) -> tuple[binary.Binary, list[binary.Mapping], list[Probe]]:
    file, parts = binary.loaded(pid, target.path, what)
    return file, parts, probes_of(file, target, what)


def probes_of(file: binary.Binary, target: UsdtTarget, what: str) -> list[Probe]:
    """The places of a probe in a file. Raises BpfError: it has none, or its notes are damaged."""
    named = all_probes(file, what)
    wanted = f"{target.provider}:{target.name}"
    found = [one for name, one in named if name == wanted]
    if not found:
        names = sorted({name for name, _ in named})
        near = hint(wanted, names) or f"it has {', '.join(names) or 'none'}"
        raise BpfError(what, f"{file.path} has no such probe", near)
    return found


def all_probes(file: binary.Binary, what: str) -> list[tuple[str, Probe]]:
    """The probes of a file by their names, `PROVIDER:NAME`. Raises BpfError: its notes are damaged."""
    try:
        return [(":".join(name), one) for name, one in _read(file.notes)]
    except (StructError, ValueError) as error:
        raise BpfError(what, f"the notes of {file.path} are damaged") from error


def _read(notes: bytes) -> Iterator[tuple[tuple[str, str], Probe]]:
    at = 0
    while at + _NOTE.size <= len(notes):
        name_bytes, bytes_, kind = _NOTE.unpack_from(notes, at)
        begin = at + _NOTE.size + (name_bytes + 3 & ~3)
        content = notes[begin : begin + bytes_]
        at = begin + (bytes_ + 3 & ~3)
        if kind == 3 and len(content) > _PLACES.size:
            address, _, semaphore = _PLACES.unpack_from(content)
            provider, name, arguments = content[_PLACES.size :].split(b"\0")[:3]
            yield (provider.decode(), name.decode()), Probe(address, semaphore, arguments.decode())


def _cookie(program: UserObjectProgram, arguments: str, cookie: int, what: str) -> int:
    """What the program finds its arguments by; `cookie` itself where it does not ask for them."""
    specs = {one.name: one for one in program.maps}.get(SPECS)
    if specs is None:
        return cookie
    parsed = arguments_of(arguments, what)
    spec = b"".join(parsed).ljust(_ARGUMENTS_MOST * _ARGUMENT.size, b"\0") + _TAIL.pack(cookie, len(parsed))
    for number in range(specs.entries):
        key = number.to_bytes(4, "little")
        there = specs[key]
        if there == spec or not any(there):
            specs[key] = spec
            return number
    raise BpfError(what, f"there is room for {specs.entries} probes", "define BPF_USDT_MAX_SPEC_CNT")


def arguments_of(text: str, what: str) -> list[bytes]:
    """The arguments of a note, as usdt.bpf.h reads them. Raises BpfError: they are too many, or not known."""
    parsed = [_argument(one, what) for one in text.split()]
    if len(parsed) > _ARGUMENTS_MOST:
        raise BpfError(what, f"it has {len(parsed)} arguments, and programs read {_ARGUMENTS_MOST}")
    return parsed


def _argument(text: str, what: str) -> bytes:
    """`-4@$5`, `8@%rax` or `8@-16(%rbp)`."""
    size, _, place = text.partition("@")
    signed, bits = size.startswith("-"), 64 - 8 * abs(int(size))
    if re.fullmatch(r"\$-?\w+", place):
        value = int(place[1:], 0) & (1 << 64) - 1
        return _ARGUMENT.pack(value, _CONSTANT, 0, signed, bits)
    if (found := re.fullmatch(r"%(\w+)", place)) and _name(found[1]) in _REGISTERS:
        return _ARGUMENT.pack(0, _REGISTER, _REGISTERS[_name(found[1])], signed, bits)
    found = re.fullmatch(r"(-?\w*)\(%(\w+)\)", place)
    if found and _name(found[2]) in _REGISTERS:
        value = int(found[1] or "0", 0) & (1 << 64) - 1
        return _ARGUMENT.pack(value, _MEMORY, _REGISTERS[_name(found[2])], signed, bits)
    raise BpfError(what, f"its argument {text!r} can't be read")


def _name(register: str) -> str:
    return re.sub(r"^(r\d+)[dwb]$", r"\1", register)
