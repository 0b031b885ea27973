from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbpf.records import host_id
from wbpf.wire.validate import Malformed, clip, split_ids, validate_host, validate_name, validate_trace_id


@pytest.mark.parametrize("trace_id", [b"", bytes(16), b"x" * 15, b"x" * 17])
def test_not_a_trace_id(trace_id: bytes) -> None:
    with pytest.raises(Malformed):
        validate_trace_id(trace_id)


def test_ids_are_cut_and_counted() -> None:
    one, two = b"a" * 16, b"b" * 16
    assert split_ids(one + bytes(16) + two + one, 4) == [one, two]
    assert split_ids(b"", 0) == []
    for ids, most in ((one + b"x", 9), (one + two, 1)):
        with pytest.raises(Malformed):
            split_ids(ids, most)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 64, "a\nb", "a\x1b", "\u202eabc"])
def test_not_a_name(name: str) -> None:
    with pytest.raises(Malformed):
        validate_name(name)


def test_a_host_is_who_its_name_says() -> None:
    assert validate_host("node-1", host_id("node-1")) == host_id("node-1")
    for name, claimed in (("node-1", host_id("node-2")), ("..", host_id("..")), ("node-1", 0)):
        with pytest.raises(Malformed):
            validate_host(name, claimed)


@given(st.text(max_size=6000))
def test_text_is_made_fit_to_be_shown(text: str) -> None:
    assert clip(text).isprintable()
    assert len(clip(text)) <= 4096
