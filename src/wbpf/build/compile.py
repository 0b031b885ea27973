"""eBPF programs in C to object files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wbpf.build.headers import generated_headers
from wbpf.build.installed import bpf_headers
from wbpf.build.strip import strip_debug
from wbpf.build.zig import compile_c, zig_include

#: v3: with the atomic operations that return the old value. -g: with BTF and what CO-RE relocates by.
BPF_FLAGS = ("-target", "bpfel-freestanding", "-mcpu=v3", "-O2", "-g")
#: A program's context is often not needed.
_WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter")
_OWN_HEADERS = Path(__file__).parent / "include"
_LIBBPF_HEADERS = Path("/usr/include")
#: The kernel's <linux/if.h>, and with it <linux/icmp.h>, includes the C library's <sys/socket.h>: the files
#: that differ are those of a machine whose `long` has 8 bytes whatever macros are defined.
_C_LIBRARY = ("aarch64-linux-gnu", "generic-glibc")


def compile_bpf(
    source: Path, out: Path, *flags: str, vmlinux: Path | None = None, include: Sequence[Path] = ()
) -> Path:
    """Compile one source to an object file without DWARF, which is returned.

    Found are `wbpf/*.bpf.h`, `wbpf/vmlinux.h`, `vmlinux.h`, the kernel's `linux/*.h`, the C library's
    headers, and libbpf's where libbpf-dev is installed.

    Args:
        source: a file of C.
        out: the object file.
        flags: more ones of clang.
        vmlinux: the header that `#include "vmlinux.h"` takes; None: there is none but the project's own.
        include: folders of headers, searched first.

    Raises:
        BuildError: it can't be compiled.
    """
    source, out = source.resolve(), out.resolve()
    folders = [source.parent, *include, *([vmlinux.parent] if vmlinux else [])]
    folders += [_OWN_HEADERS, generated_headers(), bpf_headers()]
    system = [zig_include("any-linux-any"), zig_include("x86-linux-any")]
    # No path of this machine gets into the object.
    arguments = [*BPF_FLAGS, *_WARNINGS, f"-ffile-prefix-map={source.parent}=."]
    arguments += [f"-I{folder.resolve()}" for folder in folders]
    for folder in system:
        arguments += ["-isystem", str(folder)]
    for name in _C_LIBRARY:
        arguments += ["-idirafter", str(zig_include(name))]
    if (_LIBBPF_HEADERS / "bpf/bpf_helpers.h").is_file():
        arguments += ["-idirafter", str(_LIBBPF_HEADERS)]
    # For the verifier's messages clang keeps each line of the source, which it finds from the mapped path.
    compile_c([source], out, [*arguments, *flags, "-c"], source.parent)
    out.write_bytes(strip_debug(out.read_bytes()))
    return out
