"""Headers from BTF, given to a compiler."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from wbpf.bpf.btf import Btf, Kind, encode
from wbpf.bpf.btf import types as t
from wbpf.bpf.btf.layout import bits_of
from wbpf.bpf.btf.names import identifier
from wbpf.bpf.btf.types import Composite
from wbpf.errors import BpfError

CC = (sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", "-mcpu=v3", "-O2", "-g")


def compile_header(folder: Path, header: str, checks: list[str]) -> Path:
    """The object file that a header and these checks make."""
    if find_spec("ziglang") is None:
        pytest.skip("needs ziglang: install wbpf[build]")
    (folder / "made.h").write_text(header)
    source, out = folder / "made.c", folder / "made.o"
    source.write_text('#include "made.h"\n' + "\n".join(checks))
    done = subprocess.run([*CC, "-c", source, "-o", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    return out


def layout_checks(btf: Btf) -> list[str]:
    """Assertions in C: sizes and offsets of all structs and unions whose name is theirs alone."""
    checks = []
    composites = [one for one in btf if isinstance(one, Composite) and one.name]
    tags = [
        one.name for one in btf if one.name and one.kind in (Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FWD)
    ]
    once = {name for name in tags if tags.count(name) == 1} if len(tags) < 1000 else set(tags)
    for one in composites:
        if one.name not in once or len(btf.names[one.name]) > 1:
            continue
        tag = f"{one.kind.name.lower()} {identifier(one.name)}"
        checks.append(f"_Static_assert(sizeof({tag}) == {one.bytes}, {tag!r});".replace("'", '"'))
        for member in one.members:
            offset, bits = bits_of(btf, member)
            if member.name and not bits:
                at = f"__builtin_offsetof({tag}, {identifier(member.name)})"
                checks.append(f'_Static_assert({at} == {offset // 8}, "{tag}.{member.name}");')
    return checks


def test_the_kernel_s_header_compiles_and_lays_out_as_the_kernel_does(tmp_path: Path) -> None:
    try:
        btf = Btf.of_kernel()
    except BpfError as error:
        pytest.skip(f"needs kernel BTF: {error.why}")
    checks = layout_checks(btf)
    assert len(checks) > 20_000
    compile_header(tmp_path, btf.to_c(guard="__VMLINUX_H__", access_index=True), checks)


def test_packed_structs_gaps_and_bit_fields(tmp_path: Path) -> None:
    types: list[t.Type] = [
        t.Int(1, "char", 1, signed=True, is_char=True, bits=8),
        t.Int(2, "long unsigned int", 8, bits=64),
        t.Int(3, "unsigned int", 4, bits=32),
        t.Struct(4, "packed", 9, (t.Member("c", 1, 0), t.Member("l", 2, 8))),
        t.Struct(5, "gap", 128, (t.Member("c", 1, 0), t.Member("l", 2, 512))),
        t.Struct(6, "bits", 8, (t.Member("a", 3, 0, 3), t.Member("b", 3, 7, 4), t.Member("c", 3, 32, 32))),
        t.Struct(7, "holder", 16, (t.Member("c", 1, 0), t.Member("p", 4, 8))),
        t.Union(8, "padded", 64, (t.Member("c", 1, 0),)),
        t.Enum(9, "small", 1, False, (("SMALL", 1),)),
        t.Struct(10, "with_small", 2, (t.Member("c", 1, 0), t.Member("s", 9, 8))),
        t.Int(11, "u8 of another language", 1, bits=8),
        t.Struct(12, "other", 1, (t.Member("int", 11, 0),)),
    ]
    btf = Btf.parse(encode(types))
    out = compile_header(tmp_path, btf.to_c(), [*layout_checks(btf), "struct bits bits = {.b = 15};"])
    data = out.read_bytes()
    assert (15 << 7).to_bytes(8, "little") in data


def test_names_that_are_there_twice(tmp_path: Path) -> None:
    types: list[t.Type] = [
        t.Int(1, "int", 4, signed=True, bits=32),
        t.Struct(2, "same", 4, (t.Member("a", 1, 0),)),
        t.Struct(3, "same", 8, (t.Member("a", 1, 0), t.Member("b", 1, 32))),
        t.Forward(4, "same", False),
        t.Enum(5, "", 4, False, (("SAME", 1),)),
        t.Enum(6, "", 4, False, (("SAME", 2),)),
        t.Typedef(7, "SAME", 1),
        t.Pointer(8, "", 9),
        t.Prototype(9, "", 0, (("", 3), ("", 4), ("", 0))),
        t.Typedef(10, "call", 8),
    ]
    text = Btf.parse(encode(types)).to_c()
    compile_header(tmp_path, text, ["call one; struct same s; struct same___2 t; SAME___3 u = SAME___2;"])
    assert "typedef void (*call)(struct same___2, struct same, ...);" in text


@pytest.mark.parametrize(
    ("types", "number", "text"),
    [
        ([t.Int(1, "int", 4), t.Array(2, "", 1, 1, 4), t.Pointer(3, "", 2)], 3, "int (*x)[4]"),
        (
            [t.Int(1, "int", 4), t.Const(2, "", 1), t.Pointer(3, "", 2), t.Const(4, "", 3)],
            4,
            "const int * const x",
        ),
        ([t.Pointer(1, "", 2), t.Prototype(2, "", 0, ()), t.Array(3, "", 1, 1, 2)], 3, "void (*x[2])(void)"),
        ([t.Pointer(1, "", 0), t.Pointer(2, "", 1)], 2, "void **x"),
    ],
)
def test_declarations(types: list[t.Type], number: int, text: str) -> None:
    assert Btf.parse(encode(types)).declaration(number, "x") == text
