"""Types of contexts come with the package: laid out as the kernel's, and there without it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import wbpf.bpf.user
from wbpf.bpf.btf import Btf
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf
from wbpf.errors import BpfError

SOURCE = """
#include <wbpf/vmlinux.h>
#include <wbpf_regs.h>

u64 first;

SEC("uprobe") int on_call(struct pt_regs *context)
{
    first = wbpf_arg(context, 0);
    return 0;
}

SEC("tp/raw_syscalls/sys_enter") int on_enter(struct trace_event_raw_sys_enter *context)
{
    first = context->args[0];
    return 0;
}
"""
KERNELS = """
SEC("raw_tp/sys_enter") int on_raw(void *context)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    return BPF_CORE_READ(task, tgid);
}
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], Path]:
    def compile_text(text: str) -> Path:
        source = tmp_path / "contexts.bpf.c"
        source.write_text(text)
        return compile_bpf(source, tmp_path / "contexts.o")

    return compile_text


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_kernel(module: str | None = None) -> NoReturn:
        raise BpfError("there is no kernel BTF")

    monkeypatch.setattr(Btf, "of_kernel", of_kernel)


@pytest.mark.parametrize(
    "name",
    [
        "pt_regs", "bpf_perf_event_data", "trace_event_raw_sys_enter", "trace_event_raw_sys_exit",
        "xdp_md", "__sk_buff",
    ],
)  # fmt: skip
def test_layouts_are_the_kernels(name: str) -> None:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("needs kernel BTF")
    path = Path(wbpf.bpf.user.__file__).with_name(f"contexts.{platform.machine()}.btf")
    ours, kernels = Btf.parse(path.read_bytes()).struct_layout(name), Btf.of_kernel().struct_layout(name)
    theirs = {field.name: (field.bit_offset, field.bytes) for field in kernels}
    for field in ours:
        assert theirs[field.name][0] == field.bit_offset
    assert [field.name for field in ours]


def test_programs_load_without_the_kernels_types(compiled: Callable[[str], Path], no_kernel: None) -> None:
    with UserObject.open(compiled(SOURCE)) as one:
        one.load()
        registers = bytearray(21 * 8)
        at = 14 * 8 if platform.machine() == "x86_64" else 0
        registers[at : at + 8] = (4711).to_bytes(8, "little")
        one.programs["on_call"].test_run(context=bytes(registers))
        assert one.variables["first"] == 4711
        entered = bytes(16) + (815).to_bytes(8, "little") + bytes(40)
        one.programs["on_enter"].test_run(context=entered)
        assert one.variables["first"] == 815


def test_the_kernels_own_types_are_missed_by_name(compiled: Callable[[str], Path], no_kernel: None) -> None:
    with (
        UserObject.open(compiled(SOURCE + KERNELS)) as one,
        pytest.raises(BpfError, match="there is no kernel BTF"),
    ):
        one.load()
