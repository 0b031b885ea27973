"""What programs attach to: sections and target strings, parsed. `docs/bpf.md` has the table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from wbpf.errors import ConfigError


class Kind(StrEnum):
    """How a program is attached, by its section."""

    TRACEPOINT = "tracepoint"
    RAW_TRACEPOINT = "raw_tp"
    TP_BTF = "tp_btf"
    FENTRY = "fentry"
    FEXIT = "fexit"
    FMOD_RET = "fmod_ret"
    FREPLACE = "freplace"
    LSM = "lsm"
    LSM_CGROUP = "lsm_cgroup"
    KPROBE = "kprobe"
    KRETPROBE = "kretprobe"
    KPROBE_MULTI = "kprobe.multi"
    KRETPROBE_MULTI = "kretprobe.multi"
    KSYSCALL = "ksyscall"
    KRETSYSCALL = "kretsyscall"
    UPROBE = "uprobe"
    URETPROBE = "uretprobe"
    USDT = "usdt"
    PERF_EVENT = "perf_event"
    XDP = "xdp"
    TC = "tc"
    CGROUP = "cgroup"
    SOCKET = "socket"
    SK_LOOKUP = "sk_lookup"
    FLOW_DISSECTOR = "flow_dissector"
    SOCKMAP = "sockmap"
    SK_REUSEPORT = "sk_reuseport"
    LIRC = "lirc_mode2"
    ITER = "iter"
    STRUCT_OPS = "struct_ops"
    NOT_ATTACHED = "not attached"  #: called by others, or run once: `syscall`, `lwt_in`, `xdp/devmap`


class Direction(StrEnum):
    """Of the packets that a TC program sees."""

    INGRESS = "ingress"
    EGRESS = "egress"


class XdpMode(StrEnum):
    """Where an XDP program runs; ANY leaves it to the kernel."""

    ANY = "any"
    GENERIC = "generic"
    NATIVE = "native"
    OFFLOAD = "offload"


@dataclass(frozen=True, slots=True)
class TracepointTarget:
    """`CATEGORY:NAME`, as in /sys/kernel/tracing/events."""

    category: str
    name: str


@dataclass(frozen=True, slots=True)
class FunctionTarget:
    """`NAME[+OFFSET]`: a kernel function, raw tracepoint, LSM hook, system call; for multi kprobes a glob."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class UserTarget:
    """`PATH:SYMBOL[+OFFSET][@PID]`: a place in a program or library. Symbol "": the offset is the file's."""

    path: str
    symbol: str
    offset: int = 0
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class UsdtTarget:
    """`PATH:PROVIDER:NAME[@PID]`: a static probe of a program or library."""

    path: str
    provider: str
    name: str
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class PerfTarget:
    """`EVENT@HZ` on every processor: how often a second a program runs."""

    event: str
    frequency_hz: int


@dataclass(frozen=True, slots=True)
class InterfaceTarget:
    """`IFACE[:MODE]` for XDP, `IFACE` for socket filters."""

    interface: str
    mode: XdpMode = XdpMode.ANY


@dataclass(frozen=True, slots=True)
class TcTarget:
    """`IFACE:ingress|egress`."""

    interface: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class PathTarget:
    """The path of a cgroup, network namespace, pinned map, or device."""

    path: str


@dataclass(frozen=True, slots=True)
class IterTarget:
    """`[map:NAME | cgroup:PATH | pid:PID]`: what an iterator is narrowed to."""

    map: str = ""
    cgroup: str = ""
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class NoTarget:
    """The program has one place at most, or the caller gives an object instead of text."""


Target = (
    TracepointTarget
    | FunctionTarget
    | UserTarget
    | UsdtTarget
    | PerfTarget
    | InterfaceTarget
    | TcTarget
    | PathTarget
    | IterTarget
    | NoTarget
)

#: The first part of a section's name; a longer one is tried first: `xdp/devmap` is no XDP program's place.
_SECTIONS = {
    "tracepoint": Kind.TRACEPOINT,
    "tp": Kind.TRACEPOINT,
    "raw_tracepoint": Kind.RAW_TRACEPOINT,
    "raw_tracepoint.w": Kind.RAW_TRACEPOINT,
    "raw_tp": Kind.RAW_TRACEPOINT,
    "raw_tp.w": Kind.RAW_TRACEPOINT,
    "classifier": Kind.TC,
    "sockops": Kind.CGROUP,
    "cgroup_skb": Kind.CGROUP,
    "sk_skb": Kind.SOCKMAP,
    "sk_msg": Kind.SOCKMAP,
    "xdp.frags": Kind.XDP,
    "xdp/devmap": Kind.NOT_ATTACHED,
    "xdp/cpumap": Kind.NOT_ATTACHED,
    "xdp.frags/devmap": Kind.NOT_ATTACHED,
    "xdp.frags/cpumap": Kind.NOT_ATTACHED,
    **dict.fromkeys(("syscall", "action", "lwt_in", "lwt_out", "lwt_xmit"), Kind.NOT_ATTACHED),
    "lwt_seg6local": Kind.NOT_ATTACHED,
}
_SLEEPABLE = {Kind.FENTRY, Kind.FEXIT, Kind.FMOD_RET, Kind.LSM, Kind.UPROBE, Kind.URETPROBE, Kind.ITER}
_SECTIONS |= {kind.value: kind for kind in Kind if kind not in (Kind.SOCKMAP, Kind.NOT_ATTACHED)}
_SECTIONS |= {f"{kind}.s": kind for kind in _SLEEPABLE} | {"struct_ops.s": Kind.STRUCT_OPS}

_FUNCTIONS = {
    Kind.RAW_TRACEPOINT,
    Kind.TP_BTF,
    Kind.FENTRY,
    Kind.FEXIT,
    Kind.FMOD_RET,
    Kind.FREPLACE,
    Kind.LSM,
    Kind.KPROBE,
    Kind.KRETPROBE,
    Kind.KPROBE_MULTI,
    Kind.KRETPROBE_MULTI,
    Kind.KSYSCALL,
    Kind.KRETSYSCALL,
}
_PATHS = {Kind.CGROUP, Kind.LSM_CGROUP, Kind.SK_LOOKUP, Kind.FLOW_DISSECTOR, Kind.LIRC}
_SYNTAX: dict[Kind, str] = {
    **dict.fromkeys(_FUNCTIONS, "NAME"),
    **dict.fromkeys(_PATHS, "PATH"),
    Kind.TRACEPOINT: "CATEGORY:NAME",
    Kind.KPROBE: "NAME[+OFFSET]",
    Kind.KPROBE_MULTI: "PATTERN",
    Kind.KRETPROBE_MULTI: "PATTERN",
    Kind.UPROBE: "PATH:SYMBOL[+OFFSET][@PID]",
    Kind.URETPROBE: "PATH:SYMBOL[+OFFSET][@PID]",
    Kind.USDT: "PATH:PROVIDER:NAME[@PID]",
    Kind.PERF_EVENT: "EVENT@HZ",
    Kind.XDP: "IFACE[:generic|native|offload]",
    Kind.TC: "IFACE:ingress|egress",
    Kind.SOCKET: "IFACE",
    Kind.SOCKMAP: "MAP",
    Kind.ITER: "[map:NAME|cgroup:PATH|pid:PID]",
}
#: Targets that a section can name; the others have to be given.
_BY_SECTION = _FUNCTIONS | {Kind.TRACEPOINT, Kind.UPROBE, Kind.URETPROBE, Kind.USDT}
_OFFSET = re.compile(r"\+(0[xX][0-9a-fA-F]+|\d+)$")
_PID = re.compile(r"@(\d+)$")


def kind_of(section: str) -> Kind:
    """How a program of a section is attached; NOT_ATTACHED also where the section is of no known kind."""
    section = section.removeprefix("?")
    first, _, rest = section.partition("/")
    return _SECTIONS.get(f"{first}/{rest.split('/')[0]}") or _SECTIONS.get(first) or Kind.NOT_ATTACHED


def section_target(section: str) -> str:
    """The target that a section names, as target text: `tp/sched/sched_switch` is `sched:sched_switch`.

    Empty where it names none; what is behind the slash of `cgroup/connect4` or `iter/task` is no target.
    """
    kind = kind_of(section)
    rest = section.partition("/")[2]
    if kind not in _BY_SECTION or not rest:
        return ""
    if kind is Kind.TRACEPOINT:
        return rest.replace("/", ":", 1)
    return _escaped(rest)


def parse_targets(section: str, text: str | None = None) -> tuple[Target, ...]:
    r"""The places that text names, separated by commas; a comma of a path is written `\,`.

    Args:
        section: of the program; it says which syntax the text has.
        text: None or "" for what the section itself names.

    Raises:
        ConfigError: the text does not fit the kind of program; the error says which syntax is wanted.
    """
    kind = kind_of(section)
    text = text or section_target(section)
    parts = [part.strip().replace("\\,", ",") for part in re.split(r"(?<!\\),", text)]
    return tuple(parse_target(kind, part) for part in parts)


def parse_target(kind: Kind, text: str) -> Target:
    """One place, for a kind of program. Raises: see `parse_targets`."""
    target = _parse(kind, text)
    if target is None:
        wanted = _SYNTAX.get(kind, "")
        if not wanted:
            raise ConfigError(f"a program of kind {kind.value!r} has no target", f"{text!r} was given")
        why = f"{text!r} is no {wanted}" if text else f"{wanted} is wanted, and its section names none"
        raise ConfigError(f"a program of kind {kind.value!r} can't be attached so", why, _hint(kind))
    return target


def _parse(kind: Kind, text: str) -> Target | None:
    if kind in _FUNCTIONS:
        return _function(kind, text)
    if kind in _PATHS or kind is Kind.SOCKMAP:
        return PathTarget(text) if text else None
    if kind in (Kind.UPROBE, Kind.URETPROBE):
        return _user(text)
    if kind is Kind.ITER:
        return _iter(text)
    if kind is Kind.TRACEPOINT:
        category, _, name = text.partition(":")
        return TracepointTarget(category, name) if category and name and ":" not in name else None
    if kind is Kind.USDT:
        rest, pid = _pid(text)
        parts = rest.rsplit(":", 2)
        return UsdtTarget(parts[0], parts[1], parts[2], pid) if len(parts) == 3 and all(parts) else None
    if kind is Kind.PERF_EVENT:
        event, _, frequency = text.partition("@")
        good = event and frequency.isdecimal() and int(frequency)
        return PerfTarget(event, int(frequency)) if good else None
    if kind is Kind.XDP:
        interface, colon, mode = text.partition(":")
        good = interface and (not colon or mode in set(XdpMode) - {XdpMode.ANY})
        return InterfaceTarget(interface, XdpMode(mode or "any")) if good else None
    if kind is Kind.TC:
        interface, _, direction = text.rpartition(":")
        return (
            TcTarget(interface, Direction(direction)) if interface and direction in set(Direction) else None
        )
    if kind is Kind.SOCKET:
        return InterfaceTarget(text) if text and ":" not in text else None
    return None if text else NoTarget()


def _function(kind: Kind, text: str) -> FunctionTarget | None:
    name, offset = _offset(text) if kind is Kind.KPROBE else (text, 0)
    if not name or re.search(r"[\s:/@+]", name):
        return None
    return FunctionTarget(name, offset)


def _user(text: str) -> UserTarget | None:
    rest, pid = _pid(text)
    path, _, place = rest.rpartition(":")
    if re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", place):
        symbol, offset = "", int(place, 0)
    else:
        symbol, offset = _offset(place)
    return UserTarget(path, symbol, offset, pid) if path and (symbol or offset) else None


def _iter(text: str) -> IterTarget | None:
    what, colon, value = text.partition(":")
    if not text:
        return IterTarget()
    if not colon or not value:
        return None
    if what == "pid":
        return IterTarget(pid=int(value)) if value.isdecimal() else None
    if what == "map":
        return IterTarget(map=value)
    return IterTarget(cgroup=value) if what == "cgroup" else None


def _offset(text: str) -> tuple[str, int]:
    found = _OFFSET.search(text)
    return (text[: found.start()], int(found[1], 0)) if found else (text, 0)


def _pid(text: str) -> tuple[str, int | None]:
    found = _PID.search(text)
    return (text[: found.start()], int(found[1])) if found else (text, None)


def _escaped(text: str) -> str:
    return text.replace(",", "\\,")


def _hint(kind: Kind) -> str:
    examples = {
        Kind.TRACEPOINT: "sched:sched_switch",
        Kind.UPROBE: "/bin/bash:readline",
        Kind.URETPROBE: "/bin/bash:readline",
        Kind.USDT: "/usr/lib/libc.so.6:libc:memory_heap_new",
        Kind.PERF_EVENT: "cpu-clock@99",
        Kind.XDP: "eth0:generic",
        Kind.TC: "eth0:ingress",
        Kind.SOCKET: "eth0",
        Kind.SOCKMAP: "connections (a map of the object)",
        Kind.CGROUP: "/sys/fs/cgroup/system.slice",
        Kind.LSM_CGROUP: "/sys/fs/cgroup/system.slice",
        Kind.SK_LOOKUP: "/proc/self/ns/net",
        Kind.FLOW_DISSECTOR: "/proc/self/ns/net",
        Kind.LIRC: "/dev/lirc0",
        Kind.ITER: "map:flows",
    }
    return f"give a target such as {examples.get(kind, 'tcp_v4_connect')}"


__all__ = [
    "Direction",
    "FunctionTarget",
    "InterfaceTarget",
    "IterTarget",
    "Kind",
    "NoTarget",
    "PathTarget",
    "PerfTarget",
    "Target",
    "TcTarget",
    "TracepointTarget",
    "UsdtTarget",
    "UserTarget",
    "XdpMode",
    "kind_of",
    "parse_target",
    "parse_targets",
    "section_target",
]
