"""Texts, copies and places that programs ask for, in user space and in the kernel."""

from __future__ import annotations

import ctypes
import struct

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf import Object
from wbpf.bpf.user.objects import UserObject

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")


@pytest.mark.parametrize(("a", "b"), [(0, 1), (-1, 1 << 40), (123_456_789_012, -(1 << 63)), (0x80000000, 42)])
def test_the_same_texts(compiled: Compiled, a: int, b: int) -> None:
    path = compiled("texts")
    context = struct.pack("<12Q", a & (1 << 64) - 1, b & (1 << 64) - 1, *range(10))
    seen = []
    for kind in (Object, UserObject):
        with kind.open(path) as one:
            one.load()
            assert one.programs["format"].test_run(context=context).result == 0
            seen.append([one.variables[name] for name in ("results", "texts")])
    assert seen[0] == seen[1]


def test_texts_on_standard_error(compiled: Compiled, capfd: pytest.CaptureFixture[str]) -> None:
    with UserObject.open(compiled("texts")) as one:
        one.load()
        one.programs["print"].test_run(context=struct.pack("<12Q", 7, *range(11)))
    assert capfd.readouterr().err == "7, 2, 3, word\n"


def test_the_same_copies_and_places(compiled: Compiled) -> None:
    path, text = compiled("texts"), ctypes.create_string_buffer(b"sixteen bytes it")
    runs = {"copy": struct.pack("<Q", ctypes.addressof(text)), "places": bytes(96)}
    for program, context in runs.items():
        seen = []
        for kind in (Object, UserObject):
            with kind.open(path) as one:
                one.load()
                one.programs[program].test_run(context=context)
                seen.append([one.variables[name] for name in ("results", "texts")])
        assert seen[0] == seen[1], program
