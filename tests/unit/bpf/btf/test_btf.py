"""BTF that the kernel made, that a compiler made, and that nobody should have made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from struct import pack, pack_into
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.bpf.btf import Btf, Kind, encode
from wbpf.bpf.btf import types as t
from wbpf.errors import BpfError, FormatError

ALL_KINDS: list[t.Type] = [
    t.Int(1, "int", 4, signed=True, bits=32),
    t.Pointer(2, "", 4),
    t.Array(3, "", 1, 1, 7),
    t.Struct(
        4, "node", 40, (t.Member("next", 2, 0), t.Member("numbers", 3, 64), t.Member("flag", 1, 288, 3))
    ),
    t.Union(5, "either", 8, (t.Member("one", 1, 0), t.Member("", 4, 0))),
    t.Enum(6, "colour", 4, True, (("RED", -1), ("BLUE", 2))),
    t.Forward(7, "elsewhere", True),
    t.Typedef(8, "node_t", 4),
    t.Volatile(9, "", 1),
    t.Const(10, "", 9),
    t.Restrict(11, "", 2),
    t.Function(12, "walk", 13, 1),
    t.Prototype(13, "", 1, (("from", 11), ("", 0))),
    t.Variable(14, "root", 4, 1),
    t.Section(15, ".bss", 40, ((14, 0, 40),)),
    t.Float(16, "double", 8),
    t.DeclTag(17, "guarded", 4, 1),
    t.TypeTag(18, "user", 1),
    t.Enum64(19, "wide", 8, False, (("HUGE", 1 << 63),)),
]


@pytest.fixture(scope="module")
def content() -> bytes:
    return encode(ALL_KINDS)


def test_every_kind_is_written_and_read(content: bytes) -> None:
    btf = Btf.parse(content)
    assert list(btf) == ALL_KINDS
    assert {one.kind for one in btf} == set(Kind) - {Kind.VOID}
    btf.validate()
    assert btf[0].kind is Kind.VOID


def test_found_by_name_and_kind(content: bytes) -> None:
    btf = Btf.parse(content)
    assert btf.find("node") == ALL_KINDS[3]
    assert btf.find("node", Kind.UNION) is None
    assert btf.find("nod") is None


def test_a_module_s_types_follow_its_kernel_s(content: bytes) -> None:
    base = Btf.parse(content)
    own: list[t.Type] = [t.Pointer(1, "", 4), t.Struct(2, "driver", 8, (t.Member("node", 1, 0),))]
    module = bytearray(encode(own))
    assert module.endswith(b"\0node\0driver\0")
    for at, name in ((36, 6), (48, 1)):
        pack_into("<I", module, at, base.string_bytes + name)
    pack_into("<I", module, 52, base.count)  # the member's type: the module's first
    split = Btf.parse(bytes(module), base)
    assert split.count == base.count + 2
    found = split.find("driver")
    assert found == t.Struct(base.count + 1, "driver", 8, (t.Member("node", base.count, 0),))
    assert split.find("node") == ALL_KINDS[3]
    assert [field.name for field in split.struct_layout("driver")] == ["node"]


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (b"", "0 bytes are too few"),
        (b"\x7fELF" + bytes(60), "it starts with 0x457f, not 0xeb9f"),
        (pack(">HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 0), "it is of another byte order"),
        (pack("<HBBIIIII", 0xEB9F, 2, 0, 24, 0, 0, 0, 0), "it has version 2, this is for 1"),
        (pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 64, 0, 0), "its types do not lie inside it"),
        (pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 9), "its strings do not lie inside it"),
        (pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"x", "its last string does not end"),
        (pack("<HBBIIIII3I", 0xEB9F, 1, 0, 24, 0, 12, 12, 0, 0, 31 << 24, 0), "unknown kind 31"),
        (pack("<HBBIIIII3I", 0xEB9F, 1, 0, 24, 0, 12, 12, 0, 0, 1 << 24, 0), "its last type is cut off"),
    ],
)
def test_what_is_no_btf(damage: bytes, why: str) -> None:
    with pytest.raises(FormatError) as caught:
        Btf.parse(damage)
    assert why in caught.value.why


def _read_all(content: bytes) -> None:
    btf = Btf.parse(content)
    btf.validate()
    for one in btf:
        if one.name:
            assert one in btf.find_all(one.name)
    btf.to_c()


@given(st.data())
def test_damaged_btf_is_read_or_refused(data: Any) -> None:
    hostile = bytearray(encode(ALL_KINDS))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(hostile) - 4))
        pack_into("<I", hostile, at, data.draw(st.integers(0, 40) | st.integers(0, (1 << 32) - 1)))
    end = data.draw(st.integers(len(hostile) - 40, len(hostile)))
    try:
        _read_all(bytes(hostile[:end]))
    except FormatError as error:
        assert error.what


@given(st.binary(max_size=300))
def test_any_types_at_all(body: bytes) -> None:
    body = body[: len(body) // 4 * 4]
    try:
        _read_all(pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), 5) + body + b"\0abc\0")
    except FormatError as error:
        assert error.what


def test_circles_end() -> None:
    circle: list[t.Type] = [t.Typedef(1, "a", 2), t.Typedef(2, "b", 1), t.Array(3, "", 3, 3, 2)]
    btf = Btf.parse(encode(circle))
    for attempt in (lambda: btf.peel(1), lambda: btf.bytes_of(3)):
        with pytest.raises(FormatError):
            attempt()
    own: list[t.Type] = [t.Struct(1, "self", 8, (t.Member("inner", 1, 0),))]
    with pytest.raises(FormatError, match="contains itself"):
        Btf.parse(encode(own)).to_c()


def test_a_layout_has_the_members_of_what_has_no_name() -> None:
    inner = t.Union(2, "", 4, (t.Member("word", 1, 0), t.Member("low", 1, 0, 5)))
    outer = t.Struct(3, "outer", 8, (t.Member("first", 1, 0), t.Member("", 2, 32)))
    btf = Btf.parse(encode([t.Int(1, "int", 4, bits=32), inner, outer]))
    assert [(f.name, f.offset, f.bytes, f.bits) for f in btf.struct_layout("outer")] == [
        ("first", 0, 4, 0),
        ("word", 4, 4, 0),
        ("low", 4, 4, 5),
    ]
    with pytest.raises(BpfError, match="no struct or union of this name"):
        btf.struct_layout("inner")


@pytest.fixture(scope="module")
def kernel() -> Iterator[Btf]:
    try:
        yield Btf.of_kernel()
    except BpfError as error:
        pytest.skip(f"needs kernel BTF: {error.why}")


def test_the_kernel_s_own(kernel: Btf) -> None:
    task = kernel.find("task_struct", Kind.STRUCT)
    assert isinstance(task, t.Struct)
    fields = {field.name: field for field in kernel.struct_layout("task_struct")}
    assert fields["comm"].bytes == 16
    assert 0 < fields["pid"].offset == fields["tgid"].offset - 4
    assert kernel.declaration(fields["comm"].type, "comm") == "char comm[16]"


def test_the_example_of_the_docs(kernel: Btf, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[4] / "docs/btf.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/btf.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith(" char comm[16]") for line in lines)
