"""Every import, with every argument wrong in every way: each is refused with the right number."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from tests.unit.wasm.guests import FUNCTIONS, HANDLES, MEMORY_BYTES, Cause, guest_text, kinds_of, run

#: Pointer and length that are not in the memory.
RANGES = {
    "past the end": (MEMORY_BYTES - 2, 4),
    "at the end": (MEMORY_BYTES, 1),
    "far away": (0xFFFFFFFF, 1),
    "huge": (0, 0xFFFFFFFF),
    "wraps around": (0xFFFFFFF0, 0x20),
    "negative length": (1024, 0x80000000),
}
NUMBERS = {"none": 0, "negative": -1, "huge": 0x7FFFFFFF, "unused place": 5, "old generation": (1 << 30) | 1}
SETUP = {"object": 1 << 12, "program": (1 << 12) | 1, "map": (1 << 12) | 2, "link": (1 << 12) | 3}
_FIRST = """(drop (call $object_open (i32.const 64) (i32.const 4)))
  (drop (call $program_find (i32.const 4096) (i32.const 64) (i32.const 4)))
  (drop (call $map_find (i32.const 4096) (i32.const 64) (i32.const 4)))
  (drop (call $program_attach (i32.const 4097) (i32.const 64) (i32.const 4) (i64.const 0)))"""
_NEEDED = ("object_open", "program_find", "map_find", "program_attach")
MEMORY = ("text", "bytes", "buffer", "inout")


def good(kind: str) -> list[str]:
    """Words that are right for a parameter."""
    if kind in HANDLES:
        return [f"(i32.const {SETUP.get(kind, 0)})"]
    if kind in MEMORY:
        return ["(i32.const 64)", "(i32.const 4)"]
    return ["(i64.const 0)"] if kind in ("i64", "u64") else ["(i32.const 1024)"]


def is_struct(kind: str) -> bool:
    return kind.startswith(("out ", "inout "))


def cases() -> Iterator[tuple[str, str, list[str], int]]:
    """Function, what is wrong, its words, and the number that it has to return."""
    for function in FUNCTIONS:
        kinds = kinds_of(function)
        if {"ring", "socket"} & set(kinds):  # none can be opened here: every number is wrong
            kinds = kinds[:1]
        for at, kind in enumerate(kinds):
            words = [good(one) for one in kinds_of(function)]

            def wrong(*instead: str, at: int = at, words: list[list[str]] = words) -> list[str]:
                return [word for i, one in enumerate(words) for word in (instead if i == at else one)]

            if kind in MEMORY:
                for title, (pointer, size) in RANGES.items():
                    yield (
                        function,
                        f"{at} {title}",
                        wrong(f"(i32.const {pointer})", f"(i32.const {size})"),
                        errno.EFAULT,
                    )
            elif is_struct(kind):
                for pointer in (MEMORY_BYTES - 4, MEMORY_BYTES, 0xFFFFFFFC):
                    yield (
                        function,
                        f"{at} struct at {pointer:#x}",
                        wrong(f"(i32.const {pointer})"),
                        errno.EFAULT,
                    )
            elif kind in HANDLES:
                others = {f"a {other}'s": SETUP[other] for other in SETUP if other != kind}
                for title, number in (NUMBERS | others).items():
                    yield function, f"{at} {title}", wrong(f"(i32.const {number})"), errno.EBADF


CASES = list(cases())


def test_there_are_enough_cases() -> None:
    assert len(CASES) > 300
    assert {case[0] for case in CASES} == {name for name, f in FUNCTIONS.items() if any(
        kind in HANDLES or kind in MEMORY or is_struct(kind) for kind, _ in f["params"])}  # fmt: skip


@pytest.mark.parametrize("function", sorted({case[0] for case in CASES}))
def test_wrong_arguments_are_refused(function: str) -> None:
    for name, title, words, wanted in CASES:
        if name != function:
            continue
        call = f"(call ${function} {' '.join(words)})"
        if FUNCTIONS[function]["result"] == "number":
            call = f"(i32.wrap_i64 {call})"
        body = f"{_FIRST} (call $exit {call})"
        end = run(guest_text(body, *dict.fromkeys((*_NEEDED, function))))
        assert (end.cause, end.status) == (Cause.EXITED, wanted), (title, end)


@pytest.mark.parametrize("function", ["object_close", "link_detach"])
def test_a_closed_handle_is_refused(function: str) -> None:
    handle = SETUP["object" if function == "object_close" else "link"]
    close = f"(call ${function} (i32.const {handle}))"
    end = run(guest_text(f"{_FIRST} (drop {close}) (call $exit {close})", *_NEEDED, function))
    assert (end.cause, end.status) == (Cause.EXITED, errno.EBADF)


def test_closing_an_object_ends_the_handles_that_go_with_it() -> None:
    close = "(drop (call $object_close (i32.const 4096)))"
    info = "(call $exit (call $map_info (i32.const 4098) (i32.const 1024)))"
    end = run(guest_text(f"{_FIRST} {close} {info}", *_NEEDED, "object_close", "map_info"))
    assert (end.status, end.handles) == (errno.EBADF, 0)
