"""Variables of the kernel's configuration, `extern … __kconfig`, as libbpf fills them in."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from wbpf.bpf.btf import Btf
from wbpf.bpf.btf.types import Array, Int
from wbpf.bpf.object_file import Extern
from wbpf.errors import BpfError

_TRISTATE = {"n": 0, "y": 1, "m": 2}  # enum libbpf_tristate


def kconfig_bytes(
    externs: Iterable[Extern], btf: Btf, config: Mapping[str, str] | None = None, release: str = ""
) -> bytes:
    """The values, each in its place.

    Args:
        externs: of the object.
        btf: of the object.
        config: what the kernel was configured with; None for this one's.
        release: of the kernel; "" for this one's.

    Raises:
        BpfError: a variable that is not weak is not known, or its value does not fit.
    """
    out = bytearray()
    for one in externs:
        value = _value(one, btf, kernel_config() if config is None else config, release or os.uname().release)
        out = out.ljust(one.offset, b"\0")
        out += value
    return bytes(out)


def _value(one: Extern, btf: Btf, config: Mapping[str, str], release: str) -> bytes:
    known = {
        "LINUX_KERNEL_VERSION": str(_version(release)),
        "LINUX_HAS_BPF_COOKIE": "y",
        "LINUX_HAS_SYSCALL_WRAPPER": "n",  # what it tells of, kernel functions, user space does not have
    }
    text = known.get(one.name, config.get(one.name))
    if text is None:
        if one.is_weak or (one.name.startswith("CONFIG_") and config):
            return bytes(one.bytes)
        raise BpfError(
            f"extern {one.name!r} can't be resolved",
            "no such setting of the kernel is known here",
            "make it weak: extern … __kconfig __weak",
        )
    shape = btf.peel(one.type)
    if isinstance(shape, Array):
        return text.strip('"').encode()[: max(one.bytes - 1, 0)].ljust(one.bytes, b"\0")
    if isinstance(shape, Int) and shape.bytes == 1 and text in _TRISTATE and not shape.is_bool:
        return text.encode()
    if text in _TRISTATE:
        is_bool = isinstance(shape, Int) and shape.is_bool
        number = int(text == "y") if is_bool else _TRISTATE[text]
        return number.to_bytes(one.bytes, "little")
    try:
        return (int(text, 0) & (1 << 8 * one.bytes) - 1).to_bytes(one.bytes, "little")
    except ValueError:
        raise BpfError(f"extern {one.name!r} can't be resolved", f"its value, {text}, is no number") from None


def _version(release: str) -> int:
    """KERNEL_VERSION() of a release, as `6.1.0-13-amd64`."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if not found:
        return 0
    major, minor, patch = (int(part or 0) for part in found.groups())
    return major << 16 | minor << 8 | min(patch, 255)


@cache
def kernel_config() -> Mapping[str, str]:
    """The running kernel's configuration; empty if it tells nobody."""
    for path in (Path(f"/boot/config-{os.uname().release}"), Path("/proc/config.gz")):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        pairs = (line.partition("=") for line in text.decode(errors="replace").splitlines())
        return {name: value for name, _, value in pairs if name.startswith("CONFIG_")}
    return {}
