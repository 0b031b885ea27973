"""One object reads arguments on x86-64 and on arm64: which registers is decided when it is loaded."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

import pytest

from tests.integration.build.conftest import Compile
from wbpf.bpf import Object, features
from wbpf.bpf.btf import Btf, RelocationKind
from wbpf.bpf.btf.core import Resolver
from wbpf.bpf.elf import sections
from wbpf.bpf.object_file import ObjectFile
from wbpf.bpf.reach import reached
from wbpf.build.zig import compile_c

PROGRAM = """
#include <linux/bpf.h>
#include <wbpf_regs.h>

__u64 arguments[6], returned;
const volatile __u32 traced;

SEC("uprobe") int on_call(struct pt_regs *ctx)
{
    if (bpf_get_current_pid_tgid() >> 32 != traced)
        return 0;
    arguments[0] = wbpf_arg(ctx, 0);
    arguments[1] = wbpf_arg(ctx, 1);
    arguments[2] = wbpf_arg(ctx, 2);
    arguments[3] = wbpf_arg(ctx, 3);
    arguments[4] = wbpf_arg(ctx, 4);
    arguments[5] = wbpf_arg(ctx, 5);
    return 0;
}
SEC("uretprobe") int on_return(struct pt_regs *ctx)
{
    if (bpf_get_current_pid_tgid() >> 32 == traced)
        returned = wbpf_return_value(ctx);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
#: As in the kernel's arch/arm64/include/asm/ptrace.h.
ARM64 = """
struct user_pt_regs { unsigned long long regs[31], sp, pc, pstate; };
struct pt_regs {
    union {
        struct user_pt_regs user_regs;
        struct { unsigned long long regs[31], sp, pc, pstate; };
    };
    unsigned long long orig_x0;
    int syscallno, pmr;
} example;
"""
#: As in arch/x86/include/asm/ptrace.h.
X86_64 = """
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax;
    unsigned long ip, cs, flags, sp, ss;
} example;
"""
LIBRARY = """
typedef unsigned long u;
__attribute__((noinline)) u called(u a, u b, u c, u d, u e, u f)
{
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f;
}
"""


@pytest.fixture
def loadable() -> None:
    """Skips where nothing can be loaded."""
    for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
        answer = have()
        if not answer:
            pytest.skip(f"needs {answer.what}: {answer.why}")


def relocated(program: Path, btf: Btf) -> dict[str, list[int]]:
    """The offsets at which programs read their context once they are relocated to these types, in order."""
    file = ObjectFile.parse(program.read_bytes())
    assert file.btf is not None
    resolver = Resolver(btf)
    resolved = {(one.section, one.offset): resolver.resolve(file.btf, one) for one in file.relocations()}
    found = {}
    for each in file.programs:
        reach = reached(file, each, resolved)
        assert not reach.failed, "what the other architecture has is behind a check"
        fields = [
            one
            for one in file.relocations()
            if one.kind is RelocationKind.FIELD_OFFSET and (one.section, one.offset) in reach.instructions
        ]
        offsets = [resolved[one.section, one.offset].value for one in fields if one.section == each.section]
        found[each.name] = [offset for offset in offsets if offset is not None]
    return found


def test_registers_of_arm64(compiled: Compile) -> None:
    btf = Btf.parse(sections(compiled(ARM64).read_bytes())[".BTF"])
    assert relocated(compiled(PROGRAM), btf) == {"on_call": [0, 8, 16, 24, 32, 40], "on_return": [0]}


def test_registers_of_x86_64(compiled: Compile) -> None:
    btf = Btf.parse(sections(compiled(X86_64).read_bytes())[".BTF"])
    assert relocated(compiled(PROGRAM), btf) == {"on_call": [112, 104, 96, 88, 72, 64], "on_return": [80]}


def test_registers_of_neither(compiled: Compile) -> None:
    btf = Btf.parse(sections(compiled("struct pt_regs { long gprs[4]; } example;").read_bytes())[".BTF"])
    assert relocated(compiled(PROGRAM), btf) == {"on_call": [], "on_return": []}


def test_arguments_and_result_of_a_call(compiled: Compile, loadable: None, tmp_path: Path) -> None:
    source, library = tmp_path / "library.c", tmp_path / "library.so"
    source.write_text(LIBRARY)
    compile_c([source], library, ["-shared", "-fPIC", "-O1"])
    function = ctypes.CDLL(str(library)).called
    function.argtypes, function.restype = [ctypes.c_uint64] * 6, ctypes.c_uint64
    with Object.open(compiled(PROGRAM)) as traced:
        traced.variables["traced"] = os.getpid()
        traced.load()
        for name in ("on_call", "on_return"):
            traced.programs[name].attach(f"{library}:called")
        result = function(11, 12, 13, 14, 15, 2**63 + 16)
        assert list(struct.unpack("<6Q", bytes(traced.variables["arguments"]))) == [
            11,
            12,
            13,
            14,
            15,
            2**63 + 16,
        ]
        assert traced.variables["returned"] == result
