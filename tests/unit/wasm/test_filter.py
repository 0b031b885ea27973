"""Expressions of --filter that are refused."""

from __future__ import annotations

import pytest

from wbpf.errors import ConfigError
from wbpf.wasm.events import Decoder
from wbpf.wasm.manifest import EventType, Field

KIND = EventType("exec", 4, (Field(name="uid", offset=0, bytes=4, kind="uint"),))


@pytest.mark.parametrize("text", ["uid + 1", "'root'"])
def test_what_is_neither_true_nor_false_is_no_filter(text: str) -> None:
    with pytest.raises(ConfigError, match="not true or false"):
        Decoder(KIND, text)


def test_a_comparison_is() -> None:
    decoder = Decoder(KIND, "uid + 1 == 2")
    assert len(list(decoder.decode(bytes(4) + b"\1\0\0\0"))) == 1
