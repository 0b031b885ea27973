from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wbpf.errors import FormatError
from wbpf.records import Schema, Value, parse_schemas, schema_id
from wbpf.records.schema import TYPES

_BITS = {"8": 8, "16": 16, "32": 32, "64": 64}


def values_of(kind: str) -> st.SearchStrategy[Value]:
    if kind == "bool":
        return st.booleans()
    if kind == "str":
        return st.text(max_size=40)
    if kind == "bytes":
        return st.binary(max_size=40)
    bits = _BITS[kind[1:]]
    if kind[0] == "f":
        return st.floats(width=bits, allow_nan=False)  # type: ignore[arg-type]
    low = -(1 << (bits - 1)) if kind[0] == "i" else 0
    return st.integers(low, low + (1 << bits) - 1)


names = st.text(st.characters(exclude_characters=" ", exclude_categories=["Cs"]), min_size=1, max_size=12)


@st.composite
def schemas_with_values(draw: st.DrawFn) -> tuple[Schema, dict[str, Value]]:
    keys = draw(st.lists(names, unique=True, max_size=5))
    fields = tuple((key, draw(st.sampled_from(TYPES))) for key in keys)
    return Schema(draw(names), fields), {key: draw(values_of(kind)) for key, kind in fields}


@given(schemas_with_values())
def test_values_come_back(case: tuple[Schema, dict[str, Value]]) -> None:
    schema, values = case
    assert Schema.parse(schema.descriptor) == schema
    assert schema.decode(schema.encode(values)) == values


@given(schemas_with_values(), st.data())
def test_a_cut_payload_gives_the_fields_that_are_whole(
    case: tuple[Schema, dict[str, Value]], data: st.DataObject
) -> None:
    schema, values = case
    whole = schema.encode(values)
    cut = whole[: data.draw(st.integers(0, max(len(whole) - 1, 0)))]
    fields, used = schema.decode_prefix(cut)
    assert used <= len(cut)
    assert fields.items() <= values.items()
    if whole:
        with pytest.raises(FormatError):
            schema.decode(cut)


@given(st.text(max_size=60))
@example("name a:i64 a:i64")
@example("name :i64")
def test_any_text_is_a_schema_or_a_format_error(text: str) -> None:
    try:
        assert Schema.parse(text).descriptor == text
    except FormatError:
        assert parse_schemas({1: text}) == {}


def test_bytes_on_the_wire_are_packed_little_endian() -> None:
    schema = Schema.parse("cache.miss hit:bool key:str count:i16 raw:bytes")
    payload = schema.encode({"hit": True, "key": "é", "count": -2, "raw": b"\x00"})
    assert payload == b"\x01" + b"\x02\x00\xc3\xa9" + b"\xfe\xff" + b"\x01\x00\x00"


def test_text_that_is_not_utf8_is_shown_with_replacements() -> None:
    assert Schema.parse("log text:str").decode(b"\x02\x00a\xff") == {"text": "a\ufffd"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "'count' is missing"),
        ({"count": 1 << 40, "key": ""}, "'cache.miss' can't be written"),
        ({"count": 1, "key": "x" * 70000}, "'cache.miss' can't be written"),
        ({"count": 1, "key": b"x"}, "field 'key'"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, Value], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        Schema.parse("cache.miss count:i32 key:str").encode(values)


def test_ids_are_fnv1a_of_the_descriptor() -> None:
    assert schema_id("a") == 0xE40C292C & 0x7FFFFFFF
    assert schema_id("foobar") == 0xBF9CF968 & 0x7FFFFFFF


def test_floats_keep_nan_and_infinity() -> None:
    schema = Schema.parse("m a:f64 b:f64")
    fields = schema.decode(schema.encode({"a": math.nan, "b": -math.inf}))
    assert math.isnan(float(fields["a"])) and fields["b"] == -math.inf
