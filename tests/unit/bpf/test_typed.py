from __future__ import annotations

from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.bpf.btf import Btf
from wbpf.bpf.btf import encode as encode_btf
from wbpf.bpf.btf.types import Array, Float, Int, Member, Pointer, Struct, Type, Typedef
from wbpf.bpf.typed import decode, encode
from wbpf.errors import BpfError

U8, CHAR, I32, U64, BOOL, DOUBLE, NAME, BYTES, NUMBERS, POINTER, ALIAS, INNER, OUTER = range(1, 14)
TYPES: list[Type] = [
    Int(U8, "unsigned char", 1, bits=8),
    Int(CHAR, "char", 1, signed=True, bits=8),
    Int(I32, "int", 4, signed=True, bits=32),
    Int(U64, "unsigned long", 8, bits=64),
    Int(BOOL, "_Bool", 1, is_bool=True, bits=8),
    Float(DOUBLE, "double", 8),
    Array(NAME, "", CHAR, I32, 8),
    Array(BYTES, "", U8, I32, 4),
    Array(NUMBERS, "", I32, I32, 3),
    Pointer(POINTER, "", I32),
    Typedef(ALIAS, "amount", U64),
    Struct(INNER, "inner", 4, (Member("low", I32, 0, 3), Member("high", I32, 3, 29))),
    Struct(
        OUTER,
        "outer",
        64,
        (
            Member("amount", ALIAS, 0),
            Member("balance", I32, 64),
            Member("inner", INNER, 96),
            Member("name", NAME, 128),
            Member("raw", BYTES, 192),
            Member("on", BOOL, 224),
            Member("numbers", NUMBERS, 256),
            Member("ratio", DOUBLE, 384),
            Member("at", POINTER, 448),
        ),
    ),
]
BTF = Btf.parse(encode_btf(TYPES))
VALUE: dict[str, Any] = {
    "amount": 2**63,
    "balance": -7,
    "inner": {"low": 5, "high": 1 << 28},
    "name": "hello",
    "raw": b"\1\2\0\3",
    "on": True,
    "numbers": [-1, 0, 1],
    "ratio": 0.5,
    "at": 0xFFFF800000000000,
}


def test_a_struct_there_and_back() -> None:
    content = encode(BTF, OUTER, VALUE)
    head = pack("<QiI8s4sB3x", 2**63, -7, 5 | 1 << 31, b"hello", b"\1\2\0\3", 1)
    assert content == head + pack("<3i4xdQ", -1, 0, 1, 0.5, 0xFFFF800000000000)
    assert decode(BTF, OUTER, content) == VALUE
    assert decode(BTF, OUTER, encode(BTF, OUTER, {"balance": 1}))["amount"] == 0


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (I32, 2**31, "int too big"),
        (ALIAS, -1, "negative"),
        (NAME, "far too long", "12 bytes, there is room for 8"),
        (NUMBERS, [1, 2], "2 elements, 3 are wanted"),
        (OUTER, {"amuont": 1}, "it has no field amuont"),
        (OUTER, 5, "not iterable"),
        (INNER, {"low": 8}, "low has 3 bits"),
        (DOUBLE, "x", "required argument is not a float"),
    ],
)
def test_values_that_do_not_fit(kind: int, value: Any, why: str) -> None:
    with pytest.raises(BpfError, match=why):
        encode(BTF, kind, value)


@given(st.binary(min_size=64, max_size=64))
def test_any_bytes_have_a_value(content: bytes) -> None:
    value = decode(BTF, OUTER, content)
    assert value["amount"] == int.from_bytes(content[:8], "little")
    if value["ratio"] == value["ratio"] and content[28] in (0, 1):  # no NaN
        again = encode(BTF, OUTER, value | {"name": b"" if "\ufffd" in value["name"] else value["name"]})
        assert decode(BTF, OUTER, again) | {"name": ""} == value | {"name": ""}
