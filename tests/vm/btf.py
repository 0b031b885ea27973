"""A kernel's BTF, as an archive would have it: the guest is asked for it once."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

from tests.vm.boot import run_in_vm
from tests.vm.fetch import fetch_kernel
from tests.vm.kernels import kernel as kernel_of

_TELL = "uname -r; busybox gzip -1 </sys/kernel/btf/vmlinux | busybox base64"


def kernel_btf(kernel: str) -> Path:
    """`RELEASE.btf` of a kernel in kernels.toml, kept beside it."""
    tree = fetch_kernel(kernel_of(kernel))
    for kept in tree.glob("*.btf"):
        return kept
    result = run_in_vm(kernel, ["sh", "-ec", _TELL])
    assert result.status == 0, result.output
    release, _, text = result.output.partition("\n")
    path = tree / f"{release.strip()}.btf"
    path.with_suffix(".part").write_bytes(gzip.decompress(base64.b64decode(text)))
    path.with_suffix(".part").rename(path)
    return path
