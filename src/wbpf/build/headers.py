"""Headers that are made once and kept in the cache."""

from __future__ import annotations

import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from wbpf.bpf.btf import Btf
from wbpf.bpf.btf.search import find
from wbpf.build import helper_defs
from wbpf.build.zig import zig_include
from wbpf.envvars import CACHE_DIR
from wbpf.errors import BuildError

_KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
#: By it libbpf's bpf_tracing.h knows that registers have the kernel's names.
_GUARD = "__VMLINUX_H__"


def generated_headers() -> Path:
    """The folder with wbpf/helper_defs.bpf.h."""
    source = (zig_include("any-linux-any") / "linux/bpf.h").read_bytes()
    folder = CACHE_DIR.read() / "headers" / digest(source, Path(helper_defs.__file__).read_bytes())
    keep(folder / "wbpf/helper_defs.bpf.h", helper_defs.helper_definitions)
    return folder


def vmlinux_header(btf: str | None = None) -> Path:
    """The vmlinux.h of a kernel, made from its BTF.

    Args:
        btf: a file with it, or the folder or URL of an archive that has the running kernel's; None for the
            running kernel's own, else of the archive that WBPF_BTF_ARCHIVE names.

    Raises:
        BuildError, BpfError: there is no such file.
        FormatError: it is no BTF.
    """
    source = find(btf=btf) or _KERNEL_BTF
    try:
        content = source.read_bytes()
    except OSError as error:
        hint = "include <wbpf/vmlinux.h>, the compact one, or give BTF: --vmlinux FILE"
        raise BuildError("vmlinux.h can't be made", f"{source}: {error.strerror}", hint) from error
    writer = Path(inspect.getfile(Btf)).with_name("c.py").read_bytes()
    header = CACHE_DIR.read() / "vmlinux" / digest(content, writer, _GUARD.encode()) / "vmlinux.h"
    keep(header, lambda: Btf.parse(content).to_c(guard=_GUARD, access_index=True))
    return header


def digest(*contents: bytes) -> str:
    """What a file in the cache is called that is made from these contents."""
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()[:32]


def keep(path: Path, make: Callable[[], str]) -> None:
    """Make a file in the cache, unless it is there; others may make it at the same time.

    Raises:
        BuildError: the cache can't be written.
    """
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(make())
        Path(name).replace(path)
    except OSError as error:
        hint = f"set {CACHE_DIR.name} to a folder that can be written"
        raise BuildError(f"{path} can't be written", str(error), hint) from error
