"""Object files read without libbpf, also hostile ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbpf.bpf.btf import Btf, BtfExt, Resolver, encode, reduce
from wbpf.bpf.btf import types as t
from wbpf.bpf.object_file import ObjectFile
from wbpf.bpf.reach import reached
from wbpf.errors import FormatError

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct task_struct { int pid; int none; struct task_struct *parent; } __attribute__((preserve_access_index));
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(key_size, 4); __uint(value_size, 8);
         __uint(max_entries, 3); __uint(map_flags, 1024); } array SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, int); __type(value, char[12]); __uint(max_entries, 7); }
hash SEC(".maps");
const volatile int mode = 2;
unsigned long long total;
static __attribute__((noinline)) int below(int number) { return bpf_get_prandom_u32() + number; }
SEC("raw_tp/sys_enter") int first(unsigned long long *context)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    if (mode == 1)
        total += bpf_ktime_get_ns();
    if (mode == 2)
        total += below(bpf_core_field_exists_pid());
    return ((struct task_struct *)context[0])->pid;
}
SEC("?tp/sched/sched_switch") int second(void *context)
{
    int key = 0;
    char *value = bpf_map_lookup_elem(&hash, &key);
    return value ? *value : 0;
}
char LICENSE[] SEC("license") = "Dual MIT/GPL";
""".replace("bpf_core_field_exists_pid()", "__builtin_preserve_field_info(task->none, 2)")
KERNEL = encode(
    [
        t.Int(1, "int", 4, signed=True, bits=32),
        t.Struct(2, "task_struct", 8, (t.Member("filler", 1, 0), t.Member("pid", 1, 32))),
    ]
)


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    from wbpf.build import compile_bpf

    folder = tmp_path_factory.mktemp("object")
    (folder / "some.bpf.c").write_text(SOURCE)
    return compile_bpf(folder / "some.bpf.c", folder / "some.o").read_bytes()


def test_what_is_in_it(elf: bytes) -> None:
    file = ObjectFile.parse(elf)
    assert file.license == "Dual MIT/GPL"
    assert [(one.name, one.section) for one in file.programs] == [
        ("first", "raw_tp/sys_enter"),
        ("second", "?tp/sched/sched_switch"),
    ]
    maps = {one.name: (one.type, one.key_bytes, one.value_bytes, one.entries, one.flags) for one in file.maps}
    assert maps == {
        "array": (2, 4, 8, 3, 1024),
        "hash": (1, 4, 12, 7, 0),
        ".rodata": (2, 4, 4, 1, 0),
        ".bss": (2, 4, 8, 1, 0),
    }


def test_constants_decide_what_is_reached(elf: bytes) -> None:
    file = ObjectFile.parse(elf)
    first = file.programs[0]
    assert set(reached(file, first).helpers) == {35, 7}  # not 5: mode is not 1; 7 is in a function of .text
    file.data[".rodata"] = (1).to_bytes(4, "little")
    assert set(reached(file, first).helpers) == {35, 5}
    file.data.clear()
    assert set(reached(file, first).helpers) == {35, 5, 7}


def test_relocations_by_a_kernel_s_btf(elf: bytes) -> None:
    file = ObjectFile.parse(elf)
    assert file.btf
    resolver = Resolver(Btf.parse(KERNEL))
    found = {
        one.about: one.value for one in (resolver.resolve(file.btf, each) for each in file.relocations())
    }
    assert found == {"struct task_struct.pid": 4, "struct task_struct.none": 0}


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_objects_are_read_or_refused(data: Any, elf: bytes) -> None:
    hostile = bytearray(elf)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(hostile) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        hostile[at : at + len(patch)] = patch
    end = data.draw(st.integers(0, 64)) if data.draw(st.booleans()) else 0
    try:
        file = ObjectFile.parse(bytes(hostile[: len(hostile) - end]))
        for program in file.programs:
            reached(file, program)
        if file.btf:
            resolver = Resolver(Btf.parse(KERNEL))
            for one in file.relocations():
                resolver.resolve(file.btf, one)
            reduce(Btf.parse(KERNEL), [(file.btf, file.relocations())])
    except FormatError as error:
        assert error.what


@given(st.binary(max_size=200))
def test_any_bytes_as_btf_ext(content: bytes) -> None:
    for head in (b"", b"\x9f\xeb\x01\x00\x20\x00\x00\x00"):
        try:
            BtfExt.parse(head + content, Btf.parse(KERNEL))
        except FormatError as error:
            assert error.what == "the object's .BTF.ext is damaged" or "BTF" in error.what
