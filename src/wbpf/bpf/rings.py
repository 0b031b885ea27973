"""Kernel rings: what eBPF programs record, as a segment of this host.

"Kernel chunks" in docs/record-format.md and docs/kernel-chunks.md.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wbpf import _native
from wbpf.bpf.diagnosis import demand
from wbpf.bpf.features import (
    Have,
    have_bpffs,
    have_fetch_add,
    have_host_pids,
    have_mmapable_arrays,
    have_task_storage,
)
from wbpf.bpf.kernel import Object
from wbpf.envvars import DIR, HOST
from wbpf.errors import AccessError, BpfError, ConfigError, SegmentError, WbpfError
from wbpf.records import Schema
from wbpf.records.layout import KERNEL_MAX_RECORD_BYTES, KERNEL_RING_HEADER, KERNEL_SLOT_BYTES

LOG = logging.getLogger("wbpf.bpf")
_RINGS, _PERF_RINGS, _PROCESSES = "wbpf_rings", "wbpf_perf_rings", "wbpf_processes"
_THREADS = "wbpf_threads"
#: Processors that show each other's stores in the order in which they were made.
_STRONG_ORDER = ("x86_64", "amd64", "i686", "s390x")
_LEAST_KIB, _LEAST_PERF_KIB, _MOST_KIB = 4, 16, 1 << 20


@dataclass(frozen=True, slots=True)
class RingCounters:
    """What one processor's ring has taken since it was made.

    Args:
        records: reserved, with those that were overwritten since.
        bytes: of them, with padding.
        nested: reserved while another record of this processor was open.
        refused: not taken by the kernel; perf rings alone.
    """

    cpu: int
    records: int
    bytes: int
    nested: int
    refused: int


class KernelRings:
    """The rings of one object's programs. The agent finds their segment, `HOST/kernel.NAME.seg`, by itself.

    Args:
        probe: the object, which is loaded here. Its programs include `wbpf/kernel.bpf.h`.
        name: of the segment.
        ring_kib: memory for each processor's records, a power of two.
        host: name of the host; `$WBPF_HOST`, else the host's name.
        directory: of this machine's hosts; `$WBPF_DIR`, else /dev/shm/wbpf-UID.
        pin: a path in a bpffs: the records then outlive this process. Not for perf rings.

    Raises:
        AccessError: a right is missing; the text names it.
        BpfError: the kernel or the object lacks something, or the verifier refuses a program.
        SegmentError: the segment can't be made, or a live process has one of this name.
        ConfigError: an argument can't be used.
    """

    def __init__(
        self,
        probe: Object,
        name: str,
        *,
        ring_kib: int = 1024,
        host: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        pin: str | os.PathLike[str] | None = None,
    ) -> None:
        self.probe = probe
        self.host = host or HOST.read()
        self.folder = (DIR.read() if directory is None else Path(directory)).absolute() / self.host
        self.path = self.folder / f"kernel.{name}.seg"
        self.is_perf = _PERF_RINGS in probe.maps
        self._tracees: dict[Path, tuple[int, _native.Tracees]] = {}
        _validate(name, ring_kib, self.is_perf, pin)
        _load(probe, ring_kib * 1024, self.is_perf)
        _make_folder(self.folder)
        maps = probe.maps
        native, error, why = _native.KernelRings.create(
            str(self.path),
            self.host,
            f"kernel.{name}",
            None if pin is None else os.fspath(pin),
            maps[_RINGS].fd,
            maps[_PROCESSES].fd,
            maps[_PERF_RINGS].fd if self.is_perf else -1,
            ring_kib * 1024,
        )
        if native is None:
            raise _explain(self.path, error, why)
        self._native = native
        for descriptor in probe.schemas:
            self._add_schema(descriptor)
        bell = self.folder / "doorbell"
        if bell.exists():
            _native.Doorbell(str(bell)).ring()

    def follow(self) -> None:
        """Tell the programs which processes of this host trace now. Call it again as they come and go.

        Raises:
            BpfError: this process can't tell how the kernel calls them, or they are too many.
        """
        demand(have_host_pids(), "processes can't be followed")
        self._find_segments()
        if error := self._native.follow([tracees for _, tracees in self._tracees.values()]):
            too_many = "there are more than a segment has process slots"
            why = too_many if error == -errno.EUSERS else os.strerror(-error)
            raise BpfError("not all processes can be followed", why)

    def counters(self) -> list[RingCounters]:
        """What each processor's ring has taken."""
        return [RingCounters(*row) for row in self._native.counters()]

    def close(self, keep: bool = False) -> None:
        """Let go of the rings. They and the segment are gone then, unless they are pinned and to be kept."""
        self._native.close(keep)
        self._tracees.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_schema(self, descriptor: str) -> None:
        schema = Schema.parse(descriptor)
        fields = " ".join(f"{key}:{kind}" for key, kind in schema.fields)
        if self._native.add_schema(schema.name, fields):
            raise BpfError(f"schema {schema.name!r} can't be registered", "the segment has no room for it")

    def _find_segments(self) -> None:
        """Keep one reader for each segment of the host that is there."""
        there: dict[Path, tuple[int, _native.Tracees]] = {}
        for path in self.folder.glob("*.seg"):
            if path.name.startswith("kernel."):
                continue
            try:
                inode = path.stat().st_ino
                known = self._tracees.get(path)
                there[path] = known if known and known[0] == inode else (inode, _native.Tracees(str(path)))
            except (OSError, WbpfError) as error:
                LOG.debug("processes of %s are not followed: %s", path, error)
        self._tracees = there


def _validate(name: str, ring_kib: int, is_perf: bool, pin: str | os.PathLike[str] | None) -> None:
    if not name or "/" in name or "\n" in name or len(name.encode()) > 48:
        raise ConfigError(
            f"{name!r} is no name for kernel rings", "", "use 1 to 48 characters, none of them '/'"
        )
    least = _LEAST_PERF_KIB if is_perf else _LEAST_KIB
    if not least <= ring_kib <= _MOST_KIB or ring_kib & (ring_kib - 1):
        raise ConfigError(
            f"kernel rings can't have {ring_kib} KiB", "", f"use a power of two, {least} to {_MOST_KIB}"
        )
    what = f"the rings of {name!r} can't be pinned"
    if pin is not None and is_perf:
        raise ConfigError(what, "perf rings end with the process that made them", "leave out the pin")
    if pin is not None:
        demand(have_bpffs(Path(pin).parent), what)


def _load(probe: Object, ring_bytes: int, is_perf: bool) -> None:
    what = f"eBPF object {probe.name!r} can't record"
    if not {_RINGS, _PROCESSES} <= set(probe.maps):
        raise BpfError(what, "it has no kernel rings", "include wbpf/kernel.bpf.h in its source")
    for have in [have_mmapable_arrays] if is_perf else [have_mmapable_arrays, have_fetch_add]:
        answer = have()
        if answer.have is Have.NO:  # where it could not be told, loading tells
            demand(answer, what)
    cpus = _native.bpf_possible_cpus()
    value_bytes = KERNEL_RING_HEADER.size
    if is_perf:
        probe.resize_map(_PERF_RINGS, entries=cpus)
    else:
        value_bytes += ring_bytes + KERNEL_MAX_RECORD_BYTES
        probe.set("wbpf_ring_mask", (ring_bytes - KERNEL_SLOT_BYTES).to_bytes(8, "little"))
        if have_task_storage().have is Have.NO:  # each record then looks for its thread anew
            probe.set("wbpf_task_storage", bytes(4))
            probe.drop_map(_THREADS)
        probe.set("wbpf_weak_order", (platform.machine() not in _STRONG_ORDER).to_bytes(4, "little"))
    probe.resize_map(_RINGS, value_bytes=value_bytes, entries=cpus)
    probe.load()


def _make_folder(folder: Path) -> None:
    try:
        for one in (folder.parent, folder):
            one.mkdir(mode=0o770, exist_ok=True)
    except OSError as error:
        hint = "set WBPF_DIR to a folder that you may write to"
        raise AccessError(f"the folder {folder} can't be made", str(error), hint) from error


def _explain(path: Path, error: int, why: str) -> WbpfError:
    what = f"the kernel rings' segment {path} can't be made"
    if error in (-errno.EPERM, -errno.EACCES):
        return AccessError(what, why, "run as root, or set WBPF_DIR to a folder that you may write to")
    if error == -errno.EBUSY:
        return SegmentError(what, why, "end that process, or use another name")
    return SegmentError(what, why, "ask for smaller rings: ring_kib")
