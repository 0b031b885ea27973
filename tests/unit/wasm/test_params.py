from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.errors import ConfigError
from wbpf.wasm.params import Choice, Param, Value

PROTOCOL = Param(
    "protocol", "enum", choices=(Choice("any"), Choice("tcp", ("on_tcp",)), Choice("udp", ("on_udp",)))
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "true", True),
        ("bool", "Off", False),
        ("int", "-0x10", -16),
        ("int", "010", 10),
        ("uint", "18446744073709551615", 2**64 - 1),
        ("float", "1e3", 1000.0),
        ("duration", "1m1.5s", 61_500_000_000),
        ("duration", "250us", 250_000),
        ("duration", "0.3ms", 300_000),
        ("string", "", ""),
        ("string", "a=b", "a=b"),
    ],
)
def test_values(kind: str, text: str, value: Value) -> None:
    parsed = Param("p", kind).parse(text)  # type: ignore[arg-type]
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("bool", "maybe", "must be true or false"),
        ("int", "1.5", "must be a whole number"),
        ("int", "9223372036854775808", "less than 9223372036854775808"),
        ("uint", "-1", "at least 0"),
        ("uint", "9" * 30, "must be a whole number"),
        ("float", "nan", "must be a number"),
        ("duration", "5", "a number with a unit"),
        ("duration", "5 s", "a number with a unit"),
        ("duration", "9" * 18 + "h", "too long"),
    ],
)
def test_what_is_no_value(kind: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Param("p", kind).parse(text)  # type: ignore[arg-type]


def test_choices() -> None:
    assert PROTOCOL.parse("udp") == "udp"
    with pytest.raises(ConfigError, match="did you mean 'tcp'"):
        PROTOCOL.parse("tpc")
    with pytest.raises(ConfigError, match="one of any, tcp, udp"):
        PROTOCOL.parse("")
    assert PROTOCOL.unwanted_programs("any") == ("on_tcp", "on_udp")
    assert PROTOCOL.unwanted_programs("tcp") == ("on_udp",)


def test_programs_of_a_flag() -> None:
    failed = Param("failed", "bool", programs=("on_exit",))
    assert failed.unwanted_programs(True) == ()
    assert failed.unwanted_programs(False) == ("on_exit",)


@pytest.mark.parametrize(
    ("param", "value", "size", "content"),
    [
        (Param("p", "bool"), True, 1, b"\1"),
        (Param("p", "int"), -2, 4, b"\xfe\xff\xff\xff"),
        (Param("p", "uint"), 2**64 - 1, 8, b"\xff" * 8),
        (Param("p", "duration"), 10**6, 8, struct.pack("<Q", 10**6)),
        (Param("p", "float"), 0.5, 4, struct.pack("<f", 0.5)),
        (Param("p", "string"), "sh", 4, b"sh\0\0"),
        (PROTOCOL, "udp", 4, b"\2\0\0\0"),
    ],
)
def test_bytes_of_a_variable(param: Param, value: Value, size: int, content: bytes) -> None:
    assert param.pack(value, size) == content


@pytest.mark.parametrize(
    ("kind", "value", "size"),
    [("uint", 256, 1), ("int", 2**31, 4), ("string", "abcd", 4), ("duration", 2**32, 4)],
)
def test_what_does_not_fit(kind: str, value: Value, size: int) -> None:
    with pytest.raises(ConfigError, match="too few for"):
        Param("p", kind, variable="v").pack(value, size)  # type: ignore[arg-type]


@given(
    st.sampled_from(["int", "uint", "duration", "bool", "float", "string"]),
    st.integers(0, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
def test_text_of_a_value_is_read_back(kind: str, number: int, real: float, text: str) -> None:
    value: Value = {"bool": number % 2 == 0, "float": real, "string": text}.get(kind, number)
    param = Param("p", kind)  # type: ignore[arg-type]
    assert param.parse(param.text(value)) == value


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("duration", "1h", 3600 * 10**9),
        ("duration", 10**6, 10**6),
        ("uint", "7", 7),
        ("float", 3, 3.0),
        ("bool", "off", False),
        ("bool", True, True),
        ("string", "1h", "1h"),
    ],
)
def test_values_that_a_program_gives(kind: str, given: Value, value: Value) -> None:
    found = Param("p", kind).value_of(given)  # type: ignore[arg-type]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("duration", 1.5, "a number with a unit"),
        ("duration", "soon", "a number with a unit"),
        ("int", 1.5, "must be a whole number"),
        ("uint", -1, "at least 0"),
        ("uint", True, "must be a whole number"),
        ("bool", 2, "must be true or false"),
    ],
)
def test_values_of_another_type(kind: str, given: Value, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Param("p", kind).value_of(given)  # type: ignore[arg-type]
