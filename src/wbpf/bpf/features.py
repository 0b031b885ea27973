"""What this host can do for eBPF programs. Each answer is yes, no, or could not tell; and why."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from wbpf import _native

_CAPABILITIES = {
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
_RAW_TRACEPOINT, _TASK_STORAGE_GET = 17, 156
_MAP_ARRAY, _MMAPABLE = 2, 1 << 10
#: What to try where the kernel has no BTF.
GIVE_BTF = "give the kernel's BTF: `wbpf run --btf FILE|ARCHIVE`, or Object.open(…, btf=PATH)"
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"


class Have(Enum):
    """The three answers."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "could not tell"


@dataclass(frozen=True)
class Answer:
    """An answer; true if it is yes.

    Args:
        what: was asked for, as in `needs kernel BTF`.
        why: what the answer rests on.
        hint: what to try if the answer is not yes.
    """

    what: str
    have: Have
    why: str
    hint: str = ""

    def __bool__(self) -> bool:
        return self.have is Have.YES


def have_libbpf() -> Answer:
    """Whether libbpf can be used."""
    error, text = _native.find_libbpf()
    if error == 0:
        return Answer("libbpf", Have.YES, f"libbpf {text}")
    hint = "install libbpf1 (Debian, Ubuntu) or libbpf (Fedora)"
    if error == -errno.ENOSYS:
        hint = "install libbpf-dev (Debian, Ubuntu), then build wBPF again: `make setup`"
    return Answer("libbpf", Have.NO, text, hint)


def have_capabilities(names: Iterable[str], status: str | None = None) -> Answer:
    """Whether this process has all of some capabilities; CAP_SYS_ADMIN stands for any of them.

    Args:
        names: such as `CAP_BPF`.
        status: text of a /proc/PID/status; None for this process's own.
    """
    names = sorted(names)
    what = f"the right to load eBPF programs ({' and '.join(names)})"
    text = Path("/proc/self/status").read_text() if status is None else status
    line = next((line for line in text.splitlines() if line.startswith("CapEff:")), None)
    if line is None:
        return Answer(what, Have.UNKNOWN, "the process's capabilities can't be read")
    held = int(line.split()[1], 16)
    missing = [name for name in names if not held >> _CAPABILITIES[name] & 1]
    if not missing or held >> _CAPABILITIES["CAP_SYS_ADMIN"] & 1:
        return Answer(what, Have.YES, "CAP_SYS_ADMIN" if missing else " and ".join(names))
    why = " and ".join(missing) + (" is missing" if len(missing) == 1 else " are missing")
    return Answer(what, Have.NO, why, "run as root, or grant it: `setcap`, or AmbientCapabilities of systemd")


def have_privileges(status: str | None = None) -> Answer:
    """Whether this process may load tracing programs."""
    return have_capabilities(("CAP_BPF", "CAP_PERFMON"), status)


def have_kernel_btf(path: str | os.PathLike[str] = "/sys/kernel/btf/vmlinux") -> Answer:
    """Whether the kernel describes its own types, which relocations at loading need."""
    if os.access(path, os.R_OK):
        return Answer("kernel BTF", Have.YES, str(path))
    have = Have.UNKNOWN if Path(path).exists() else Have.NO
    why = f"{path} can't be read" if have is Have.UNKNOWN else f"there is no {path}"
    return Answer("kernel BTF", have, why, GIVE_BTF)


def have_mmapable_arrays() -> Answer:
    """Whether programs and processes can share an array's memory."""
    result = _native.bpf_probe_map(_MAP_ARRAY, 4096, _MMAPABLE)
    return _probed("arrays that can be mapped (kernel 5.5)", result, "use a newer kernel")


def have_fetch_add() -> Answer:
    """Whether programs have an atomic add that returns the old value, which shares out kernel rings."""
    return _probed(
        "atomic fetch-and-add in eBPF (kernel 5.12, on arm64 5.18)",
        _native.bpf_probe_fetch_add(),
        "compile the program with -DWBPF_PERF_RING, for rings that do without",
    )


def have_task_storage() -> Answer:
    """Whether programs for raw tracepoints can keep something of each thread."""
    result = _native.bpf_probe_helper(_RAW_TRACEPOINT, _TASK_STORAGE_GET)
    return _probed("storage of threads in eBPF (kernel 5.13)", result, "use a newer kernel")


def have_host_pids() -> Answer:
    """Whether process ids are here what the kernel, and so its programs, calls them."""
    what = "the host's pid namespace"
    try:
        own = str(Path("/proc/self/ns/pid").readlink())
    except OSError as error:
        return Answer(what, Have.UNKNOWN, str(error))
    have = Have.YES if own == _INITIAL_PID_NAMESPACE else Have.NO
    return Answer(what, have, f"this process is in {own}", "run it in the host's pid namespace (hostPID)")


def have_bpffs(folder: str | os.PathLike[str] = "/sys/fs/bpf") -> Answer:
    """Whether maps can be pinned in a folder."""
    hint = f"mount -t bpf bpf {os.fspath(folder)}"
    place = os.path.realpath(folder)
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError as error:
        return Answer("bpffs", Have.UNKNOWN, str(error), hint)
    around = [mount for mount in mounts if f"{place}/".startswith(mount[1].rstrip("/") + "/")]
    kind = max(around, key=lambda mount: len(mount[1]))[2] if around else "nothing"
    if kind == "bpf":
        return Answer("bpffs", Have.YES, str(folder))
    return Answer("bpffs", Have.NO, f"{folder} is on {kind}", hint)


def _probed(what: str, result: int, hint: str) -> Answer:
    if result > 0:
        return Answer(what, Have.YES, "tried")
    if result == 0:
        return Answer(what, Have.NO, "the kernel refuses it", hint)
    why = f"the kernel can't be asked: {os.strerror(-result)}"
    return Answer(what, Have.UNKNOWN, why, have_privileges().hint)
