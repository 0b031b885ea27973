from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.bpf.elf import sections, strings
from wbpf.errors import FormatError

CONTENTS = {".text": b"\x95" + bytes(7), ".wbpf.schemas": b"a x:u8\0b\0"}


def object_file(contents: dict[str, bytes], machine: int = 247) -> bytes:
    """An object file with these sections, and one of names."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in [*contents, ".strtab"])
    data, headers = b"", [bytes(64)]
    for name, content in [*contents.items(), (".strtab", names)]:
        at = names.index(name.encode() + b"\0")
        headers.append(pack("<IIQQQQIIQQ", at, 1, 0, 0, 64 + len(data), len(content), 0, 0, 1, 0))
        data += content
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    table = 64 + len(data)
    count = len(headers)
    header = pack("<16sHHIQQQIHHHHHH", ident, 1, machine, 1, 0, 0, table, 0, 64, 0, 0, 64, count, count - 1)
    return header + data + b"".join(headers)


def test_sections_by_name() -> None:
    found = sections(object_file(CONTENTS))
    assert {name: found[name] for name in CONTENTS} == CONTENTS
    assert strings(found[".wbpf.schemas"]) == ["a x:u8", "b"]


def test_a_program_for_another_machine() -> None:
    with pytest.raises(FormatError, match="it is for machine 62"):
        sections(object_file(CONTENTS, machine=62))


@given(st.binary(max_size=200).filter(lambda content: not content.startswith(b"\x7fELF\x02\x01")))
def test_anything_else(content: bytes) -> None:
    with pytest.raises(FormatError, match="not an eBPF object"):
        sections(content)


@given(st.integers(0, 500), st.binary(min_size=1, max_size=8), st.integers(0, 500))
def test_damaged_files_are_read_or_refused(at: int, patch: bytes, size: int) -> None:
    whole = bytearray(object_file(CONTENTS))
    whole[at : at + len(patch)] = patch
    for content in (bytes(whole), bytes(whole[:size])):
        try:
            assert isinstance(sections(content), dict)
        except FormatError as error:
            assert error.what in ("not an eBPF object", "the eBPF object is damaged")
