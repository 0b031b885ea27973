"""BTF of DWARF, beside the BTF that the same compiler makes of the same source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wbpf.bpf.btf import Btf, Kind
from wbpf.bpf.btf.dwarf import from_dwarf
from wbpf.bpf.elf import read_elf
from wbpf.errors import BpfError, FormatError

pytest.importorskip("elftools", reason="needs pyelftools: install wbpf[dwarf]")

SOURCE = """
typedef unsigned int u32;
typedef int (*compare_t)(const void *a, const volatile u32 *b, ...);
enum colour { RED = -1, GREEN, BLUE = 7 };
enum huge { HUGE = 0x100000000ull };
struct elsewhere;
struct node {
    struct node *next;
    char name[16];
    u32 matrix[2][3];
    unsigned flag : 1, wide : 12;
    _Bool on : 1;
    union { long word; struct { short low, high; }; };
    compare_t compare;
    struct elsewhere *other;
    enum colour colour;
    enum huge huge;
    struct { int x, y; } points[4];
    long double *far;
};
union either { struct node node; double number; };
struct tight { char c; long l; } __attribute__((packed));
struct open { int count; struct tight rest[]; };
int walk(struct node *from, union either *to, struct tight *t, struct open *o)
{
    return from->flag + to->node.on + t->c + o->count;
}
static struct node first;
void *start(void) { return &first; }
"""
KINDS = (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.TYPEDEF, Kind.FWD)
TARGET = ("-target", "bpfel-freestanding")


def compile_with_both(folder: Path, source: str = SOURCE) -> Path:
    """An object that clang wrote both into."""
    pytest.importorskip("ziglang", reason="needs ziglang: install wbpf[build]")
    (folder / "both.c").write_text(source)
    command = [sys.executable, "-m", "ziglang", "cc", *TARGET, "-O2", "-g", "-c", "both.c", "-o", "both.o"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "both.o"


def described(btf: Btf) -> dict[str, str]:
    """Every type that has a name, in C, with what it needs; functions by their prototypes."""
    texts = {
        f"{one.kind.name} {one.name}": btf.to_c([one.id]) for one in btf if one.name and one.kind in KINDS
    }
    for one in btf:
        if one.kind is Kind.FUNC:
            texts[f"FUNC {one.name}"] = btf.declaration(one.type, one.name)  # type: ignore[attr-defined]
    return texts


def test_it_says_what_the_compiler_says(tmp_path: Path) -> None:
    path = compile_with_both(tmp_path)
    theirs = next(one.content for one in read_elf(path.read_bytes()) if one.name == ".BTF")
    expected = described(Btf.parse(theirs))
    made = Btf.parse(from_dwarf(path))
    made.validate()
    found = described(made)
    assert {name: found.get(name) for name in expected} == expected
    assert {"STRUCT node", "UNION either", "STRUCT tight", "FUNC walk", "TYPEDEF compare_t"} <= set(expected)


def test_gcc_s_program_of_two_units(tmp_path: Path) -> None:
    """A type that both describe is there once."""
    (tmp_path / "one.c").write_text(SOURCE)
    (tmp_path / "two.c").write_text(SOURCE.replace("walk", "walk2").replace("start", "start2"))
    command = ["gcc", "-g", "-shared", "-fPIC", "-o", "both.so", "one.c", "two.c"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = Btf.parse(from_dwarf(tmp_path / "both.so"))
    made.validate()
    assert len(list(made.find_all("node", Kind.STRUCT))) == 1
    assert len(list(made.find_all("u32", Kind.TYPEDEF))) == 1
    assert {one.name for one in made if one.kind is Kind.FUNC} == {"walk", "walk2", "start", "start2"}
    fields = {field.name: field for field in made.struct_layout("node")}
    assert (fields["wide"].bit_offset - fields["flag"].bit_offset, fields["wide"].bits) == (1, 12)
    assert fields["high"].offset == fields["low"].offset + 2


def test_files_without_dwarf(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no ELF file")
    with pytest.raises(FormatError, match="can't be read"):
        from_dwarf(tmp_path / "text")
    with pytest.raises(BpfError, match="has no DWARF"):
        from_dwarf(Path("/bin/true"))
    with pytest.raises(BpfError, match="No such file"):
        from_dwarf(tmp_path / "none")
