"""Guests that compute for ever, take too much, or do what only a hostile one does."""

from __future__ import annotations

import errno
import time

import pytest

from tests.unit.wasm.guests import (
    MEMORY_BYTES,
    WASM_BPF,
    Cause,
    StubHost,
    guest_text,
    run,
)

OPEN = "(call $object_open (i32.const 64) (i32.const 4))"


def test_an_endless_loop_ends_at_its_deadline() -> None:
    started = time.monotonic()
    end = run(guest_text("(loop (br 0))"), deadline_ms=200)
    assert end.cause is Cause.OVERTIME and "200 ms" in end.why
    assert 0.19 < time.monotonic() - started < 3


def test_an_endless_loop_of_calls_ends_at_its_deadline() -> None:
    body = "(loop (drop (call $now_ns)) (br 0))"
    text = guest_text(body, "now_ns").replace("(param )", "")
    assert run(text, deadline_ms=200).cause is Cause.OVERTIME


def test_waiting_is_no_computing() -> None:
    body = "(drop (call $wait (i32.const 400) (i32.const 0) (i32.const 64))) (call $exit (i32.const -3))"
    end = run(guest_text(body, "wait"), deadline_ms=150)
    assert (end.cause, end.status) == (Cause.EXITED, 3)


@pytest.mark.parametrize("timeout_ms", [-1, 2**31 - 1])
def test_a_wait_without_end_can_be_stopped(timeout_ms: int) -> None:
    started = time.monotonic()
    body = f"(drop (call $wait (i32.const {timeout_ms}) (i32.const 0) (i32.const 64)))"
    assert run(guest_text(f"(loop {body} (br 0))", "wait"), stop_after_s=0.2).cause is Cause.STOPPED
    assert time.monotonic() - started < 2


def sleeping(nanoseconds: int, then: str) -> str:
    """A guest that sleeps by WASI; `then` has what poll_oneoff returned and how many events it wrote."""
    poll = '(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))'
    body = f"""(local $error i32) (i64.store (i32.const 24) (i64.const {nanoseconds}))
      (local.set $error (call $poll (i32.const 0) (i32.const 512) (i32.const 1) (i32.const 1024))) {then}"""
    return guest_text(body).replace("(module ", f"(module {poll}")


def test_sleeping_by_wasi_can_be_stopped() -> None:
    started = time.monotonic()
    run(sleeping(10**12, "(loop (br 0))"), stop_after_s=0.2)
    assert time.monotonic() - started < 2


def test_sleeping_by_wasi_sleeps() -> None:
    started = time.monotonic()
    exit_with_count = (
        "(call $exit (i32.sub (i32.const 0) (i32.add (local.get $error) (i32.load (i32.const 1024)))))"
    )
    end = run(sleeping(150_000_000, exit_with_count), deadline_ms=50)
    assert (end.cause, end.status) == (Cause.EXITED, 1)  # no error, one event
    assert time.monotonic() - started > 0.14


def test_deep_recursion_is_a_trap_with_names() -> None:
    end = run(guest_text("(call $deeper)", extra="(func $deeper (call $deeper))"))
    assert end.cause is Cause.TRAPPED and "call stack exhausted" in end.why
    assert end.trace.startswith("deeper\n")


def test_memory_is_capped() -> None:
    end = run(guest_text("(call $exit (memory.grow (i32.const 100)))"), memory_mib=4)
    assert (end.cause, end.status) == (Cause.EXITED, 1)  # memory.grow said -1


def test_a_module_that_wants_more_memory_at_once_is_refused() -> None:
    end = run(guest_text("", memory="1000"), memory_mib=4)
    assert end.cause is Cause.REFUSED and "memory" in end.why


def test_exhausting_handles_ends_the_guest() -> None:
    end = run(guest_text(f"(loop (drop {OPEN}) (br 0))", "object_open"))
    assert end.cause is Cause.REFUSED and "4096 handles" in end.why


def test_handles_can_be_had_again_and_are_never_the_same() -> None:
    body = f"""(local $last i32) (local $n i32)
      (loop (if (i32.le_s (local.tee $last {OPEN}) (i32.const 0)) (then (call $exit (i32.const -9))))
        (if (i32.eq (local.get $last) (i32.load (i32.const 0))) (then (call $exit (i32.const -8))))
        (i32.store (i32.const 0) (local.get $last))
        (drop (call $object_close (local.get $last)))
        (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20000))))"""
    end = run(guest_text(body, "object_open", "object_close"), deadline_ms=20000)
    assert (end.cause, end.status, end.handles) == (Cause.EXITED, 0, 0)


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_exit_statuses(status: int) -> None:
    assert run(guest_text(f"(call $exit (i32.const -{status}))")).status == status


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const 65536)))", "out of bounds memory access"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "divide by zero"),
        ("(memory.fill (i32.const 65000) (i32.const 0) (i32.const 1000))", "out of bounds memory access"),
    ],
)
def test_traps(body: str, why: str) -> None:
    end = run(guest_text(body))
    assert end.cause is Cause.TRAPPED and why in end.why


def test_a_guest_without_a_memory() -> None:
    body = "(call $exit (call $log (i32.const 0) (i32.const 0) (i32.const 4)))"
    text = (
        guest_text(body, "log")
        .replace('(memory (export "memory") 1)', "")
        .replace('(data (i32.const 64) "name\\00")', "")
    )
    assert run(text).status == errno.EFAULT


def test_a_guest_without_a_start() -> None:
    end = run(guest_text("").replace('(export "_start")', ""))
    assert end.cause is Cause.REFUSED and "_start" in end.why


def test_another_version_of_the_abi() -> None:
    end = run(guest_text("", extra='(func (export "wbpf_abi") (result i32) (i32.const 2))'))
    assert (
        end.cause is Cause.REFUSED
        and end.why == "it was built for version 2 of the guest ABI `wbpf`, this is 1"
    )


def test_this_version_of_the_abi() -> None:
    assert (
        run(guest_text("", extra='(func (export "wbpf_abi") (result i32) (i32.const 1))')).cause
        is Cause.EXITED
    )


def test_an_import_of_another_type() -> None:
    text = guest_text("", "log").replace("(param i32 i32 i32)", "(param i32)")
    end = run(text)
    assert end.cause is Cause.REFUSED and "incompatible import type" in end.why


def test_a_host_that_fails_ends_the_guest_only() -> None:
    class Broken(StubHost):
        def answer(self, function: str, arguments: list[object]) -> int:
            raise RuntimeError("broken")

    end = run(guest_text(f"(drop {OPEN})", "object_open"), host=Broken())
    assert end.cause is Cause.REFUSED and "the host failed in object_open" in end.why and "broken" in end.why


# ---- wasm_bpf ----

LOAD = "(call $wasm_load_bpf_object (i32.const 64) (i32.const 4))"


@pytest.mark.parametrize("at", [MEMORY_BYTES - 2, MEMORY_BYTES, 0xFFFFFFFF])
def test_wasm_bpf_loads_nothing_outside_the_memory(at: int) -> None:
    host = StubHost()
    body = f"(call $exit (i32.wrap_i64 (call $wasm_load_bpf_object (i32.const {at}) (i32.const 8))))"
    assert run(guest_text(body, "wasm_load_bpf_object"), host=host).status == 0
    assert host.calls == []


@pytest.mark.parametrize(
    ("function", "arguments", "wanted"),
    [
        ("wasm_close_bpf_object", (5,), errno.EBADF),
        ("wasm_close_bpf_object", (-1,), errno.EBADF),
        ("wasm_close_bpf_object", (0x100001000,), errno.EBADF),
        ("wasm_attach_bpf_program", (7, 64, 0,), errno.EBADF),
        ("wasm_attach_bpf_program", (4096, 0, 0,), errno.EINVAL),
        ("wasm_attach_bpf_program", (4096, -1, 0,), errno.EFAULT),
        ("wasm_attach_bpf_program", (4096, 65536, 0,), errno.EFAULT),
        ("wasm_attach_bpf_program", (4096, 64, -9,), errno.EFAULT),
        ("wasm_attach_bpf_program_fd", (7, 64, -1,), errno.EBADF),
        ("wasm_attach_bpf_program_fd", (4096, 64, 3,), errno.EBADF),
        ("wasm_attach_bpf_program_fd", (4096, -1, 3,), errno.EFAULT),
        ("wasm_attach_bpf_program_fd", (4096, -1, -1,), errno.EFAULT),
        ("wasm_bpf_map_fd_by_name", (3, 64,), errno.EBADF),
        ("wasm_bpf_map_fd_by_name", (4096, -2,), errno.EFAULT),
        ("wasm_bpf_map_operate", (1, 1, 0, 0, 0, 0,), errno.EBADF),
        ("wasm_bpf_map_operate", (4096, 1, 0, 0, 0, 0,), errno.EBADF),
        ("wasm_bpf_buffer_poll", (4096, -1, 0, 0, 0, 9, 1,), errno.EBADF),
        ("wasm_bpf_buffer_poll", (4096, 1, 99, 0, 0, 9, 1,), errno.EINVAL),
        ("wasm_bpf_buffer_poll", (4096, 1, 1, 0, 0, 9, 1,), errno.EINVAL),
    ],
)  # fmt: skip
def test_wasm_bpf_refuses(function: str, arguments: tuple[int, ...], wanted: int) -> None:
    # file descriptors of this process (0 to 2, and those that are open) are no handles
    types = WASM_BPF[function][0]
    words = [
        f"({'i64' if kind == 'I' else 'i32'}.const {n})" for kind, n in zip(types, arguments, strict=True)
    ]
    call = f"(call ${function} {' '.join(words)})"
    # the table: a function of the right type, and one of another
    extra = """(table (export "__indirect_function_table") 4 funcref) (elem (i32.const 0) $sample $other)
      (func $sample (param i32 i32 i32) (result i32) (i32.const 0)) (func $other)"""
    end = run(guest_text(f"(drop {LOAD}) (call $exit {call})", *WASM_BPF, extra=extra))
    assert (end.cause, end.status) == (Cause.EXITED, wanted), end
