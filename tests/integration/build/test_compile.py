"""C to eBPF objects: without what debuggers need, with all that the loader needs; errors that say where."""

from __future__ import annotations

from pathlib import Path
from struct import Struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.build.conftest import Compile
from wbpf.bpf.elf import sections
from wbpf.build import compile_bpf
from wbpf.build.strip import strip_debug
from wbpf.build.zig import compile_c
from wbpf.errors import BuildError, FormatError

SOURCE = """
#include <linux/bpf.h>
#include <wbpf/filter.bpf.h>

struct task_struct {
    int tgid;
    struct task_struct *real_parent;
    char comm[16];
} __attribute__((preserve_access_index));
struct event { __u32 pid, parent; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
const volatile __u64 least = 5;
__u64 seen;

__noinline int count(__u64 value)
{
    return value > least ? __sync_fetch_and_add(&seen, 1) : 0;
}

SEC("raw_tp/sys_enter") int on_enter(void *ctx)
{
    if (wbpf_filtered())
        return 0;
    count(bpf_ktime_get_ns());
    struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event)
        return 0;
    struct task_struct *task = (void *)bpf_get_current_task();
    event->pid = bpf_get_current_pid_tgid() >> 32;
    event->parent = BPF_CORE_READ(task, real_parent, tgid);
    BPF_CORE_READ_STR_INTO(&event->comm, task, real_parent, comm);
    bpf_ringbuf_submit(event, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
SECTION, SYMBOL, RELOCATION = Struct("<IIQQQQIIQQ"), Struct("<IBBHQQ"), Struct("<QQ")


def relocations(elf: bytes) -> dict[str, list[tuple[int, int, str, int]]]:
    """By section: where, of which kind, and to which symbol (its own name, or its section's) and value."""
    table, count, names_at = (int.from_bytes(elf[a:b], "little") for a, b in ((40, 48), (60, 62), (62, 64)))
    headers = [SECTION.unpack_from(elf, table + at * SECTION.size) for at in range(count)]

    def content(at: int) -> bytes:
        return elf[headers[at][4] : headers[at][4] + headers[at][5]]

    def text(table: int, at: int) -> str:
        return content(table)[at : content(table).index(b"\0", at)].decode()

    found: dict[str, list[tuple[int, int, str, int]]] = {}
    for header in headers:
        if header[1] != 9:
            continue
        symbols = headers[header[6]]
        rows = []
        start = header[4]
        for offset, info in RELOCATION.iter_unpack(elf[start : start + header[5]]):
            name, _, _, place, value, _ = SYMBOL.unpack_from(content(header[6]), (info >> 32) * SYMBOL.size)
            shown = text(symbols[6], name) if name else text(names_at, headers[place][0])
            rows.append((offset, info & 0xFFFFFFFF, shown, value))
        found[text(names_at, header[0])] = rows
    return found


@pytest.fixture(scope="module")
def unstripped(compiled: Compile, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An object as the compiler made it."""
    made: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wbpf.build.compile.strip_debug", lambda elf: made.append(elf) or elf)
        compiled(SOURCE, "-DAS_IT_WAS")
    return made[0]


def test_only_what_debuggers_need_goes(unstripped: bytes) -> None:
    before, after = sections(unstripped), sections(strip_debug(unstripped))
    gone = set(before) - set(after)
    assert {".debug_info", ".debug_line"} < gone
    assert all(
        name.startswith((".debug_", ".rel.debug_", ".llvm_", ".eh_frame", ".rel.eh_frame")) for name in gone
    )
    renumbered = {name for name in after if name.startswith(".rel") and name != ".rel.rodata"} | {".symtab"}
    same = set(after) - renumbered - {".strtab"}
    assert {".BTF", ".BTF.ext", ".maps", "license", "raw_tp/sys_enter", ".rodata"} <= same
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_relocations_lead_to_the_same_symbols(unstripped: bytes) -> None:
    before, after = relocations(unstripped), relocations(strip_debug(unstripped))
    assert after[".relraw_tp/sys_enter"], "there are some"
    assert after == {name: rows for name, rows in before.items() if name in after}


def test_stripping_twice_changes_nothing(compiled: Compile) -> None:
    once = compiled(SOURCE).read_bytes()
    assert strip_debug(once) == once


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 9000), patch=st.binary(min_size=1, max_size=8))
def test_damaged_objects_are_stripped_or_refused(unstripped: bytes, at: int, patch: bytes) -> None:
    damaged = bytearray(unstripped)
    at = at % len(damaged)
    damaged[at : at + len(patch)] = patch
    try:
        strip_debug(bytes(damaged))
    except FormatError as error:
        assert error.why


def test_no_path_of_this_machine_is_in_an_object(compiled: Compile) -> None:
    object_file = compiled(SOURCE)
    assert str(object_file.parent).encode() not in object_file.read_bytes()


def test_an_error_says_where(compiler: None, tmp_path: Path) -> None:
    source = tmp_path / "wrong.bpf.c"
    source.write_text("int f(void)\n{\n    return a;\n}\nint g(void) { return b; }\n")
    with pytest.raises(
        BuildError, match=r"wrong.bpf.c:3:12: use of undeclared identifier 'a' \(and 1 more\)"
    ) as caught:
        compile_bpf(source, tmp_path / "wrong.o")
    assert "undeclared identifier 'b'" in caught.value.log


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("#include <bpf/bpf_helpers2.h>", "include <wbpf/program.bpf.h>"),
        ('#include "vmlinux.h"', "include <wbpf/vmlinux.h>"),
        ("u32 a;", "include vmlinux.h or <wbpf/vmlinux.h> first"),
    ],
)
def test_hints_for_what_is_missing(compiler: None, tmp_path: Path, text: str, hint: str) -> None:
    source = tmp_path / "wrong.bpf.c"
    source.write_text(text + "\n")
    with pytest.raises(BuildError) as caught:
        compile_bpf(source, tmp_path / "wrong.o")
    assert hint in caught.value.hint


def test_headers_of_libbpf_are_found_where_they_are_installed(compiled: Compile) -> None:
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs libbpf-dev: no /usr/include/bpf")
    text = (
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
        'SEC("xdp") int f(void *c) { return bpf_get_smp_processor_id(); }\n'
    )
    assert "xdp" in sections(compiled(text).read_bytes())


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from wbpf.build import zig

    monkeypatch.setattr(zig.importlib.util, "find_spec", lambda name: None)
    zig._folder.cache_clear()
    try:
        with pytest.raises(BuildError, match="ziglang is not installed"):
            compile_c([tmp_path / "a.c"], tmp_path / "a.o", [])
    finally:
        zig._folder.cache_clear()
