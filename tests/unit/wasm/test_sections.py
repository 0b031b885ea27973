from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.errors import FormatError
from wbpf.wasm.sections import objects, read_sections, with_exported_table, with_sections

EMPTY = b"\0asm\x01\0\0\0"
#: one type, one function, exported as `_start`
MODULE = EMPTY + bytes.fromhex("01040160000003020100070a01065f737461727400000a040102000b")
CONTENTS = st.dictionaries(st.text(max_size=200), st.binary(max_size=300), max_size=5)


@given(CONTENTS, CONTENTS)
def test_what_was_added_is_read(first: dict[str, bytes], second: dict[str, bytes]) -> None:
    once = with_sections(MODULE, first)
    assert read_sections(once) == first
    twice = with_sections(once, second)
    assert read_sections(twice) == first | second
    assert twice.startswith(MODULE), "the rest stays as it was"


@given(CONTENTS)
def test_adding_again_changes_nothing(contents: dict[str, bytes]) -> None:
    once = with_sections(MODULE, contents)
    assert with_sections(once, contents) == once


def test_a_table_is_exported_once() -> None:
    table = bytes.fromhex("0404017000" + "01")
    with_table = MODULE.replace(bytes.fromhex("070a01"), table + bytes.fromhex("070a01"))
    exported = with_exported_table(with_table)
    entry = bytes([25]) + b"__indirect_function_table" + bytes([1, 0])
    assert exported == with_table.replace(
        bytes.fromhex("070a01065f73746172740000"), bytes.fromhex("072602065f73746172740000") + entry
    )
    assert with_exported_table(exported) == exported
    assert with_exported_table(MODULE) == MODULE, "it has none"


def test_a_section_between_others_is_replaced() -> None:
    first = with_sections(EMPTY, {"wbpf.manifest": b"old", "name": b"n"})
    module = first + MODULE[8:]
    assert with_sections(module, {"wbpf.manifest": b"new"}) == (
        with_sections(EMPTY, {"name": b"n"})
        + MODULE[8:]
        + with_sections(EMPTY, {"wbpf.manifest": b"new"})[8:]
    )


def test_objects_by_name() -> None:
    module = with_sections(MODULE, {"wbpf.object.a": b"1", "wbpf.manifest": b"{}", "wbpf.object.b.c": b"2"})
    assert objects(read_sections(module)) == {"a": b"1", "b.c": b"2"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a WebAssembly module"),
        (b"\x7fELF", "not a WebAssembly module"),
        (EMPTY[:6], "not a WebAssembly module of version 1"),
        (b"\0asm\x0d\0\x01\0", "it is a component"),
        (EMPTY + b"\x01", "ends within a number"),
        (EMPTY + b"\x01\x05", "ends 5 bytes behind"),
        (EMPTY + b"\x01\xff\xff\xff\xff\x1f", "more than 32 bits"),
        (EMPTY + b"\x01\x80\x80\x80\x80\x80\x00", "more than 32 bits"),
        (EMPTY + b"\x00\x00", "ends within a number"),
        (EMPTY + b"\x00\x02\x05a", "longer than the section"),
        (EMPTY + b"\x00\x02\x01\xff", "not UTF-8"),
    ],
)
def test_what_is_no_module(content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_sections(content)


def test_a_section_of_ours_twice() -> None:
    added = with_sections(EMPTY, {"wbpf.object.a": b"1"})[8:]
    with pytest.raises(FormatError, match="is there twice"):
        read_sections(MODULE + added + added)
    other = with_sections(EMPTY, {"name": b"1"})[8:]
    assert read_sections(MODULE + other + other[:-1] + b"2") == {"name": b"1"}


@given(CONTENTS, st.integers(0, 400), st.binary(min_size=1, max_size=8), st.integers(0, 400))
def test_damaged_modules_are_read_or_refused(
    contents: dict[str, bytes], at: int, patch: bytes, size: int
) -> None:
    whole = bytearray(with_sections(MODULE, contents))
    whole[at : at + len(patch)] = patch
    for content in (bytes(whole), bytes(whole[:size])):
        try:
            found = read_sections(content)
        except FormatError:
            continue
        assert all(content.count(section) for section in found.values() if section)
