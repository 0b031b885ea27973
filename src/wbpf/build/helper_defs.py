"""Declarations of the kernel's helpers, made from its header linux/bpf.h.

The header, which the package ziglang carries, describes each helper in a comment with its C prototype, and
numbers them in a macro. (The kernel's scripts/bpf_doc.py makes libbpf's bpf_helper_defs.h of the same text.)
"""

from __future__ import annotations

import re
from functools import cache

from wbpf.build.zig import zig_include
from wbpf.errors import BuildError

_PROTOTYPE = re.compile(r"^ \* ((?:const )?[a-z][\w ]*?[ *]+)bpf_(\w+)\(([^)]*)\)$", re.MULTILINE)
_NUMBER = re.compile(r"^\tFN\((\w+), (\d+), ##ctx\)", re.MULTILINE)
#: The kernel's own types of contexts, by the names that programs know them under.
_CONTEXTS = {
    "struct bpf_map": "void",
    "struct sk_buff": "struct __sk_buff",
    "struct sk_msg_buff": "struct sk_msg_md",
    "struct xdp_buff": "struct xdp_md",
    "struct sk_reuseport_kern": "struct sk_reuseport_md",
    "struct bpf_sock_ops_kern": "struct bpf_sock_ops",
    "struct bpf_sock_addr_kern": "struct bpf_sock_addr",
    "struct bpf_sysctl_kern": "struct bpf_sysctl",
}
_TYPES = {"u8": "__u8", "u16": "__u16", "u32": "__u32", "u64": "__u64", "s32": "__s32", "s64": "__s64"}
_TYPES["size_t"] = "__u64"


def helper_definitions() -> str:
    """The text of wbpf/helper_defs.bpf.h.

    Raises:
        BuildError: the kernel's header has another form than was known.
    """
    numbers = {name: int(number) for name, number in _NUMBER.findall(_header())}
    if not numbers:
        raise BuildError("helpers can't be declared", "linux/bpf.h of ziglang has another form than it had")
    described: dict[str, list[tuple[str, str]]] = {}
    for result, name, arguments in _PROTOTYPE.findall(_header()):
        described.setdefault(name, []).append((result, arguments))
    lines, structs = [], set[str]()
    for name, ((result, arguments), *others) in described.items():
        if name not in numbers:
            continue
        if others:  # one helper for several kinds of contexts
            arguments = re.sub(r"struct \w+", "void", arguments)
        declared = f"{_typed(result)}(*const bpf_{name})({_typed(arguments)})"
        structs.update(re.findall(r"struct \w+", declared))
        lines.append(f"static {declared} __attribute__((unused)) = (void *){numbers[name]}ul;")
    forward = [f"{struct};" for struct in sorted(structs)]
    guard = ["#ifndef WBPF_HELPER_DEFS_BPF_H", "#define WBPF_HELPER_DEFS_BPF_H"]
    return "\n".join(["/* made from linux/bpf.h: do not edit */", *guard, *forward, *lines, "#endif", ""])


def _typed(text: str) -> str:
    for kernel, program in _CONTEXTS.items():
        text = re.sub(rf"{kernel}\b", program, text)
    return re.sub(r"\b(?:[us](?:8|16|32|64)|size_t)\b", lambda found: _TYPES[found[0]], text)


@cache
def _header() -> str:
    return (zig_include("any-linux-any") / "linux/bpf.h").read_text()
