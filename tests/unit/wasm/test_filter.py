"""Expressions of --filter that are refused, and what is said of them."""

from __future__ import annotations

import pytest

from wbpf.errors import ConfigError
from wbpf.wasm.events import Decoder
from wbpf.wasm.manifest import EventType, Field

KIND = EventType("exec", 4, (Field(name="uid", offset=0, bytes=4, kind="uint"),))
WIDE = EventType(
    "call",
    24,
    (
        Field("pid", 0, 4, "uint"),
        Field("ms", 8, 8, "float"),
        Field("comm", 16, 8, "char[]"),
    ),
)


@pytest.mark.parametrize("text", ["uid + 1", "'root'"])
def test_what_is_neither_true_nor_false_is_no_filter(text: str) -> None:
    with pytest.raises(ConfigError, match="not true or false"):
        Decoder(KIND, text)


def test_a_comparison_is() -> None:
    decoder = Decoder(KIND, "uid + 1 == 2")
    assert len(list(decoder.decode(bytes(4) + b"\1\0\0\0"))) == 1


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        ("pid >", "at character 6, it ends too early", "write what is to come there"),
        ("", "at character 1, it ends too early", "write what is to come there"),
        ("(pid == 1", "at character 10, it ends too early", "add ')'"),
        ("pid in [1,2", "at character 12, it ends too early", "add ']'"),
        ("(pid == 1 1)", "at character 11, '1' is not expected", ""),
        ("pid = 1", "at character 5, '=' is not expected", "write =="),
        ("pid == 1 and pid == 2", "at character 10, 'and' is not expected", "write &&"),
        ("pid == 1 | pid == 2", "at character 10, '|' is not expected", "write ||"),
        ("pid == 1)", "at character 9, ')' is not expected", ""),
        (
            "comm == 'x",
            "at character 9, the text 'x does not end, or has a backslash that means",
            "check its",
        ),
        ("if pid", "at character 1, 'if' is a word of CEL's own", ""),
        ("pidd == 1", "at character 1, there is no field 'pidd'", "did you mean 'pid'?"),
        ("x == 1", "at character 1, there is no field 'x'", "use the fields pid, ms, comm"),
        ("starts(comm)", "at character 7, there is no function 'starts'", "use size, contains, startsWith"),
        ("comm.contains(1)", "at character 14, contains() does not take (string, int)", ""),
        ("pid == '1'", "at character 5, == does not take int and string", "leave out the quotes"),
        ("ms > 1", "at character 4, > does not take double and int", "write the number with a point: 1.0"),
        ("pid.x == 1", "at character 4, '.' follows something of type int, which has no fields", ""),
        ("pid == 1 &&\n(pid = 2)", "at character 6 of line 2, '=' is not expected", "write =="),
        ("comm == 'é' && pid =", "at character 20, '=' is not expected", "write =="),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, why: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Decoder(WIDE, text)
    assert raised.value.what == f"--filter {text!r} can't be used for 'call'"
    assert raised.value.why.startswith(why)
    assert raised.value.hint.startswith(hint) and bool(raised.value.hint) == bool(hint)
