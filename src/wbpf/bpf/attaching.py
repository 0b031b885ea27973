"""Targets to what the native core attaches to."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbpf import _native
from wbpf.bpf import target as targets
from wbpf.bpf.diagnosis import explain, kernel_functions
from wbpf.bpf.kinds import capabilities_for
from wbpf.bpf.links import Link
from wbpf.bpf.nearest import hint
from wbpf.bpf.target import Kind
from wbpf.bpf.tracefs import tracepoint_id, tracepoints
from wbpf.errors import BpfError, WbpfError

if TYPE_CHECKING:
    import socket

    from wbpf.bpf.program import Program


class _Place(IntEnum):
    """`enum wbpf_place_kind`."""

    SECTION = 0
    RAW_TRACEPOINT = 1
    TRACE = 2
    KPROBE = 3
    KPROBE_MULTI = 4
    KSYSCALL = 5
    UPROBE = 6
    USDT = 7
    PERF_EVENT = 8
    LINK = 9
    ITER = 10
    SOCKMAP = 11
    SOCKET = 12
    TC = 13


_PERF_TRACEPOINT = 2
#: Type and number of perf events.
_EVENTS = {
    **{
        name: (1, number)
        for number, name in enumerate(
            ("cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations", "minor-faults")
        )
    },
    **{
        name: (0, number)
        for number, name in enumerate(
            ("cpu-cycles", "instructions", "cache-references", "cache-misses", "branches", "branch-misses")
        )
    },
}
_XDP_MODES = {
    targets.XdpMode.ANY: 0,
    targets.XdpMode.GENERIC: 1 << 1,
    targets.XdpMode.NATIVE: 1 << 2,
    targets.XdpMode.OFFLOAD: 1 << 3,
}
_TCX = {targets.Direction.INGRESS: 46, targets.Direction.EGRESS: 47}
_TC = {targets.Direction.INGRESS: 1, targets.Direction.EGRESS: 2}
_XDP_ATTACH = 37
_SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_EBPF, _ETH_P_ALL = 50, 52, 3
_AIMED = {Kind.TP_BTF, Kind.FENTRY, Kind.FEXIT, Kind.FMOD_RET, Kind.LSM, Kind.FREPLACE}
_RETURNS = {Kind.KRETPROBE, Kind.KRETPROBE_MULTI, Kind.KRETSYSCALL, Kind.URETPROBE}
ENOTSUPP = -524  # ENOTSUPP, which user space has no name for
_NO_FUNCTION = (-errno.ENOENT, -errno.EINVAL, -errno.EADDRNOTAVAIL)


class Attaching:
    """One call of Program.attach: its parts, of which none stays if one can't be attached."""

    def __init__(self, program: Program, cookie: int) -> None:
        self._program, self._cookie = program, cookie
        self._parts: list[_native.BpfLink] = []
        self._socket: socket.socket | None = None
        self._undo = ExitStack()
        self._kept = ExitStack()

    def link(self, where: tuple[targets.Target, ...] | Any) -> Link:
        """Attach to targets, or to an object that has a descriptor."""
        with self._undo:
            if isinstance(where, tuple):
                for one in where:
                    self._attach(one)
            else:
                self._attach_to_file(where)
            self._undo.pop_all()
        what = f"program {self._program.name!r}"
        return Link(self._parts, what, socket=self._socket, then=self._kept.close)

    # ---- one target ----

    def _attach(self, target: targets.Target) -> None:
        match target:
            case targets.FunctionTarget():
                self._attach_function(target)
            case targets.TracepointTarget():
                config = tracepoint_id(target.category, target.name)
                self._attach_perf_event(f"{target.category}:{target.name}", _PERF_TRACEPOINT, config, 0, 0)
            case targets.PerfTarget():
                if target.event not in _EVENTS:
                    near = hint(target.event, _EVENTS)
                    raise self._failed(target.event, "there is no such event", near, errno.ENOENT)
                for cpu in _online_cpus():
                    self._attach_perf_event(target.event, *_EVENTS[target.event], target.frequency_hz, cpu)
            case targets.UserTarget():
                self._attach_user(target)
            case targets.UsdtTarget():
                where = f"{target.path}:{target.provider}:{target.name}"
                self._have_file(target.path, where)
                pid = -1 if target.pid is None else target.pid
                names = {"path": target.path, "provider": target.provider, "name": target.name}
                self._part(where, _Place.USDT, pid=pid, **names)
            case targets.InterfaceTarget() if self._program.attach_kind is Kind.XDP:
                index, flags = self.ifindex(target.interface), _XDP_MODES[target.mode]
                self._part(target.interface, _Place.LINK, fd=index, attach_type=_XDP_ATTACH, flags=flags)
            case targets.InterfaceTarget():
                self._socket = self._packets_of(target.interface)
                self._part(target.interface, _Place.SOCKET, fd=self._socket.fileno(), flags=_SO_ATTACH_BPF)
            case targets.TcTarget():
                self._attach_tc(target)
            case targets.PathTarget():
                self._attach_path(target.path)
            case targets.IterTarget():
                self._attach_iter(target)
            case targets.NoTarget():
                self._part(self._program.section, _Place.SECTION)

    def _attach_function(self, target: targets.FunctionTarget) -> None:
        kind = self._program.attach_kind
        is_return = kind in _RETURNS
        if kind in _AIMED:
            self.check_aim(target)
            self._part(target.name, _Place.TRACE)
        elif kind is Kind.RAW_TRACEPOINT:
            self._part(target.name, _Place.RAW_TRACEPOINT, name=target.name)
        elif kind in (Kind.KPROBE_MULTI, Kind.KRETPROBE_MULTI):
            self._part(target.name, _Place.KPROBE_MULTI, name=target.name, is_return=is_return)
        elif kind in (Kind.KSYSCALL, Kind.KRETSYSCALL):
            self._part(target.name, _Place.KSYSCALL, name=target.name, is_return=is_return)
        else:
            at = target.offset
            self._part(target.name, _Place.KPROBE, name=target.name, offset=at, is_return=is_return)

    def check_aim(self, target: targets.FunctionTarget) -> None:
        """Raise BpfError if the program was loaded for another function."""
        aimed = self._program.aimed_at
        if self._program.attach_kind in _AIMED and aimed and aimed != target.name:
            why = f"it was loaded for {aimed!r}"
            raise self._failed(target.name, why, f"before load(): programs[…].aim({target.name!r})")

    def _attach_user(self, target: targets.UserTarget) -> None:
        where = f"{target.path}:{target.symbol or hex(target.offset)}"
        self._have_file(target.path, where)
        self._part(
            where,
            _Place.UPROBE,
            path=target.path,
            name=target.symbol or None,
            offset=target.offset,
            pid=-1 if target.pid is None else target.pid,
            is_return=self._program.attach_kind in _RETURNS,
        )

    def _attach_perf_event(self, where: str, kind: int, config: int, frequency_hz: int, cpu: int) -> None:
        fd = _native.perf_event_open(kind, config, frequency_hz, -1, cpu)
        if fd < 0:
            raise self.refused(where, fd, "")
        try:
            self._part(where, _Place.PERF_EVENT, fd=fd)
        except WbpfError:
            os.close(fd)
            raise

    def _attach_tc(self, target: targets.TcTarget) -> None:
        index = self.ifindex(target.interface)
        tcx = {"fd": index, "attach_type": _TCX[target.direction]}
        link, error = self._program.native_attach(_Place.LINK, **tcx)
        if error == -errno.EINVAL:  # the kernel has no links for TC
            from wbpf.bpf.tc_filters import remove_dead

            remove_dead()
            link, error = self._program.native_attach(_Place.TC, fd=index, flags=_TC[target.direction])
        if link is None:
            raise self.refused(f"{target.interface}:{target.direction}", error, self._program.log())
        self._keep(link)
        filter = link.tc_filter()
        if filter is not None:
            from wbpf.bpf.tc_filters import Note

            self._kept.callback(Note(filter).close)

    def _attach_path(self, path: str) -> None:
        kind = self._program.attach_kind
        if kind is Kind.SOCKMAP:
            self._attach_to_file(self._program.map(path))
            return
        fd = self.open_path(path)
        try:
            self._part(path, _Place.LINK, fd=fd, attach_type=self._program.attach_type)
        finally:
            os.close(fd)

    def open_path(self, path: str) -> int:
        """A descriptor of a cgroup or network namespace. Raises BpfError: there is none."""
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            is_cgroup = self._program.attach_kind in (Kind.CGROUP, Kind.LSM_CGROUP)
            wanted = "a cgroup" if is_cgroup else "a network namespace"
            near = f"give the path of {wanted}"
            raise self._failed(path, str(error.strerror), near, error.errno or 0) from error

    def _attach_iter(self, target: targets.IterTarget) -> None:
        where = self._program.section
        if target.map:
            self._part(where, _Place.ITER, iter_map_fd=self._program.map(target.map).fileno())
        elif target.cgroup:
            try:
                fd = os.open(target.cgroup, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                near, number = "give the path of a cgroup", error.errno or 0
                raise self._failed(target.cgroup, str(error.strerror), near, number) from error
            try:
                self._part(where, _Place.ITER, iter_cgroup_fd=fd)
            finally:
                os.close(fd)
        else:
            self._part(where, _Place.ITER, iter_pid=target.pid or 0)

    def _attach_to_file(self, file: Any) -> None:
        kind, fd = self._program.attach_kind, file.fileno()
        where = f"descriptor {fd}"
        if kind is Kind.SOCKET:
            self._part(where, _Place.SOCKET, fd=fd, flags=_SO_ATTACH_BPF)
        elif kind is Kind.SK_REUSEPORT:
            self._part(where, _Place.SOCKET, fd=fd, flags=_SO_ATTACH_REUSEPORT_EBPF)
        elif kind is Kind.SOCKMAP:
            self._part(where, _Place.SOCKMAP, fd=fd, attach_type=self._program.attach_type)
        elif kind in (Kind.CGROUP, Kind.LSM_CGROUP, Kind.SK_LOOKUP, Kind.FLOW_DISSECTOR):
            self._part(where, _Place.LINK, fd=fd, attach_type=self._program.attach_type)
        elif kind is Kind.ITER:
            self._part(where, _Place.ITER, iter_map_fd=fd)
        else:
            raise self._failed(where, f"a program of kind {kind.value!r} takes a target as text")

    # ---- parts ----

    def _part(self, where: str, place: _Place, **arguments: Any) -> None:
        link, error = self._program.native_attach(place, cookie=self._cookie, **arguments)
        if link is None:
            raise self.refused(where, error, self._program.log())
        self._keep(link)

    def _keep(self, link: _native.BpfLink) -> None:
        self._parts.append(link)
        self._undo.callback(link.destroy)

    def _have_file(self, path: str, where: str) -> None:
        if "/" in path and not Path(path).exists():
            raise self._failed(where, f"there is no file {path!r}", error=errno.ENOENT)

    def ifindex(self, interface: str) -> int:
        """The number of an interface. Raises BpfError: there is none such."""
        import socket

        try:
            return socket.if_nametoindex(interface)
        except OSError:
            names = [name for _, name in socket.if_nameindex()]
            near = hint(interface, names) or f"give one of {', '.join(names)}"
            raise self._failed(interface, "there is no such interface", near, errno.ENOENT) from None

    def _packets_of(self, interface: str) -> socket.socket:
        import socket

        self.ifindex(interface)
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._undo.callback(packets.close)
        packets.bind((interface, _ETH_P_ALL))
        return packets

    # ---- what went wrong ----

    def _failed(self, where: str, why: str, hint: str = "", error: int = 0) -> BpfError:
        what = f"program {self._program.name!r} can't be attached to {where!r}"
        return BpfError(what, why, hint, error=error)

    def refused(self, where: str, error: int, log: str) -> WbpfError:
        """The exception for what the kernel or libbpf refused."""
        missing = self._missing(where, error, log)
        if missing is not None:
            missing.log = log
            missing.errno = -error
            return missing
        what = f"program {self._program.name!r} can't be attached to {where!r}"
        refused = explain(what, error, log, needs=capabilities_for(self._program.kind))
        if isinstance(refused, BpfError):
            refused.errno = -error
        return refused

    def _missing(self, where: str, error: int, log: str) -> BpfError | None:
        kind = self._program.attach_kind
        if kind in (Kind.KPROBE, Kind.KRETPROBE, Kind.KSYSCALL, Kind.KRETSYSCALL) and not _has_kprobes():
            why = "needs kprobes: the kernel was built without CONFIG_KPROBES"
            return self._failed(where, why, "use a tracepoint, or fentry")
        if kind in (Kind.KPROBE_MULTI, Kind.KRETPROBE_MULTI) and error in (-errno.EOPNOTSUPP, -errno.EINVAL):
            why = "needs kprobes by the function tracer (CONFIG_FPROBE, kernel 5.18)"
            return self._failed(where, why, "use kprobe with several targets")
        if kind in _AIMED and error in (ENOTSUPP, -errno.EOPNOTSUPP, -errno.EBUSY, -errno.ENODEV):
            why = "needs trampolines at kernel functions (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)"
            return self._failed(where, f"{why}: {_native.bpf_strerror(error)}", "use a tracepoint, or kprobe")
        if self._cookie and error in (-errno.EOPNOTSUPP, -errno.EINVAL) and kind is Kind.RAW_TRACEPOINT:
            return self._failed(where, "cookies for raw tracepoints need kernel 6.10", "leave the cookie out")
        if kind is Kind.RAW_TRACEPOINT and error == -errno.ENOENT:
            names = [name.partition(":")[2] for name in tracepoints()]
            return self._failed(where, "the kernel has no such raw tracepoint", hint(where, names))
        if kind in (Kind.KPROBE, Kind.KRETPROBE) and error in (
            -errno.ENOENT,
            -errno.EINVAL,
            -errno.EADDRNOTAVAIL,
        ):
            functions = kernel_functions()
            if where not in functions:
                return self._failed(where, "the kernel has no such function", hint(where, functions))
        if kind in (Kind.CGROUP, Kind.LSM_CGROUP) and error == -errno.EBADF:
            why = "it is no cgroup of version 2"
            return self._failed(where, why, "give a path below where cgroup2 is mounted: mount -t cgroup2")
        if kind is Kind.XDP and error in (-errno.EBUSY, -errno.EEXIST):
            return self._failed(
                where, "another XDP program is attached there", f"ip link set {where} xdp off"
            )
        if kind is Kind.XDP and error == -errno.EOPNOTSUPP:
            return self._failed(where, "its driver can't do that", f"attach to {where}:generic")
        if kind in (Kind.UPROBE, Kind.URETPROBE) and "failed to find symbol" in log:
            return self._failed(where, "the file has no such function", "give a symbol of `nm` or `nm -D`")
        if kind is Kind.USDT and error == -errno.ENOENT:
            return self._failed(where, "the file has no such probe", "`readelf -n FILE` lists its probes")
        if kind is Kind.USDT and error == -errno.ESRCH:
            return self._failed(where, "the object has no maps for USDT", "include <bpf/usdt.bpf.h>")
        return None


def _has_kprobes() -> bool:
    return Path("/sys/bus/event_source/devices/kprobe").exists()


def _online_cpus() -> Iterator[int]:
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
