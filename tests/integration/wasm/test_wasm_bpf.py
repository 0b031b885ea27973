"""The ABI of wasm-bpf, and each fault of its other runtimes."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from tests.integration.wasm.guests import ELF_AT, Ran, links, module_of
from wbpf.errors import WasmError
from wbpf.wasm.module import Module, module_of_text

Call = Callable[[int], None]

SAMPLE = """(table (export "__indirect_function_table") 2 funcref) (elem (i32.const 1) $sample)
  (global $object (mut i64) (i64.const 0)) (global $count (mut i32) (i32.const 0))"""
#: Counts and prints the second word of each sample.
COUNT = """(func $sample (param i32 i32 i32) (result i32)
  (global.set $count (i32.add (global.get $count) (i32.const 1)))
  (call $print (i32.load offset=8 (local.get 1))) (i32.const 0))"""


LOOKUP = """(call $wasm_bpf_map_operate (local.get ${}) (i32.const 1) (i32.const 16) {}
  (i32.const 0) (i64.const 0))"""


def load(elf: bytes) -> str:
    return f"""(local $h i64) (local $fd i32) (local $n i32)
      (local.set $h (call $wasm_load_bpf_object (i32.const {ELF_AT}) (i32.const {len(elf)})))
      (global.set $object (local.get $h))
      (if (i64.eqz (local.get $h)) (then (call $exit (i32.const -1))))
      (if (call $wasm_attach_bpf_program (local.get $h) (i32.const 256) (i32.const 0))
        (then (call $exit (i32.const -2))))
      (call $print (i32.const 1000))"""


def poll(name_at: int, timeout_ms: int = 3000) -> str:
    return f"""(call $wasm_bpf_buffer_poll (local.get $h)
      (call $wasm_bpf_map_fd_by_name (local.get $h) (i32.const {name_at}))
      (i32.const 1) (i32.const 5) (i32.const 65000) (i32.const 64) (i32.const {timeout_ms}))"""


def until(count: int, name_at: int = 272) -> str:
    """Poll until so many samples have come."""
    return f"""(loop (if (i32.lt_s {poll(name_at)} (i32.const 0)) (then (call $exit (i32.const -3))))
      (br_if 0 (i32.lt_u (global.get $count) (i32.const {count}))))"""


@pytest.mark.parametrize(("name_at", "mark"), [(272, 7), (288, 8), (336, 8)])
def test_every_sample_of_every_ring_reaches_the_guest(
    elf: bytes, call: Call, name_at: int, mark: int
) -> None:
    # elsewhere only the last sample of a poll does, and a second ring of an object is the first again
    first = f"(drop {poll(272, 1)}) (drop {poll(336, 1)})"  # perf buffers are there once they are opened
    body = (
        load(elf).replace("(call $print", f"{first} (call $print")
        + until(100, name_at)
        + "(call $exit (i32.const -9))"
    )
    ran = Ran(module_of(body, extra=SAMPLE + COUNT, compat=elf))
    ran.until(1)
    call(100)
    assert ran.end().exit_status == 9
    assert ran.printed() == [1000] + [mark] * 100


def test_a_target_by_descriptor(elf: bytes, call: Call) -> None:
    """None is as no target in words; and modules of wasm-bpf are given no folders."""
    named = "(call $wasm_attach_bpf_program (local.get $h) (i32.const 256) (i32.const 0))"
    by_fd = named.replace("program (", "program_fd (").replace("(i32.const 0)", "(i32.const {})")
    body = load(elf).replace(named, by_fd.format(-1)) + until(10)
    body += f"(call $exit {by_fd.format(3)})"
    ran = Ran(module_of(body, extra=SAMPLE + COUNT, compat=elf))
    ran.until(1)
    call(10)
    assert ran.end().exit_status == errno.EBADF
    assert ran.printed() == [1000] + [7] * 10


def test_closing_detaches(elf: bytes, call: Call) -> None:
    body = load(elf) + "(call $exit (call $wasm_close_bpf_object (local.get $h)))"
    before = links()
    ran = Ran(module_of(body, extra=SAMPLE + COUNT, compat=elf))
    result = ran.guest.wait(20)
    assert (result.exit_status, links()) == (0, before)
    ran.guest.close()


@pytest.mark.parametrize("how", ["(unreachable)", "(call $exit (i32.const -4))", "(loop (br 0))"])
def test_all_is_detached_however_it_ends(elf: bytes, how: str) -> None:
    before = links()
    ran = Ran(module_of(load(elf) + how, extra=SAMPLE + COUNT, compat=elf))
    ran.until(1)
    if "loop" in how:
        assert links() == before + 1
        ran.guest.stop()
        assert ran.end().exit_status == 0
    elif "unreachable" in how:
        with pytest.raises(WasmError, match="unreachable"):
            ran.end()
    else:
        assert ran.end().exit_status == 4
    assert links() == before


def test_per_cpu_values_are_complete_and_stay_in_bounds(elf: bytes, call: Call) -> None:
    operate = LOOKUP.format("fd", "(i32.const {})")
    body = f"""{load(elf)} {until(50)}
      (local.set $fd (call $wasm_bpf_map_fd_by_name (local.get $h) (i32.const 304)))
      (i32.store (i32.const 16) (i32.const 0))
      (call $print {operate.format(1048576 - 8)})
      (call $print {operate.format(2048)})
      (loop (call $print (i32.load (i32.add (i32.const 2048) (i32.mul (local.get $n) (i32.const 8)))))
        (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 2))))"""
    ran = Ran(
        module_of(
            body,
            extra=SAMPLE + COUNT.replace("(call $print (i32.load offset=8 (local.get 1)))", ""),
            compat=elf,
        )
    )
    ran.until(1)
    call(50)
    assert ran.end().exit_status == 0
    _, at_the_end, inside, *counts = ran.printed()
    assert at_the_end == 2**32 - errno.EFAULT and inside == 0
    assert sum(counts) == 50


def test_a_descriptor_of_the_host_is_no_handle(elf: bytes) -> None:
    operate = LOOKUP.format("n", "(i32.const 2048)")
    body = f"""{load(elf)}
      (loop (if (i32.ne {operate} (i32.const -{errno.EBADF})) (then (call $exit (i32.const -5))))
      (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000))))"""
    assert Ran(module_of(body, extra=SAMPLE + COUNT, compat=elf)).end().exit_status == 0


def test_polling_from_within_a_sample_ends_that_guest(elf: bytes, call: Call) -> None:
    again = COUNT.replace("(i32.const 0))", poll(272).replace("local.get $h", "global.get $object") + ")")
    before = links()
    ran = Ran(module_of(load(elf) + until(5), extra=SAMPLE + again, compat=elf))
    ran.until(1)
    call(5)
    with pytest.raises(WasmError, match="polled a buffer again"):
        ran.end()
    assert links() == before


def test_closing_from_within_a_sample_ends_that_guest(elf: bytes, call: Call) -> None:
    close = COUNT.replace("(i32.const 0))", "(call $wasm_close_bpf_object (global.get $object)))")
    ran = Ran(module_of(load(elf) + until(5), extra=SAMPLE + close, compat=elf))
    ran.until(1)
    call(5)
    with pytest.raises(WasmError, match="closed a buffer"):
        ran.end()


def test_an_exit_from_within_a_sample(elf: bytes, call: Call) -> None:
    leave = COUNT.replace("(i32.const 0))", "(call $exit (i32.const -6)) (i32.const 0))")
    ran = Ran(module_of(load(elf) + until(5), extra=SAMPLE + leave, compat=elf))
    ran.until(1)
    call(5)
    assert ran.end().exit_status == 6


def test_a_busy_producer_does_not_keep_a_poll(elf: bytes, call: Call) -> None:
    # each sample makes another one: in this process, which is traced
    body = f"{load(elf)} (drop {poll(272)}) (call $exit (i32.const -7))"
    ran = Ran(module_of(body, extra=SAMPLE + COUNT, compat=elf))
    ran.until(1)
    while not ran.guest.has_ended:
        call(100)
    assert ran.end().exit_status == 7


def test_a_poll_without_a_time_comes_back(elf: bytes) -> None:
    body = f"{load(elf)} (call $exit (i32.sub (i32.const 0) (i32.add (i32.const 3) {poll(272, 0)})))"
    assert Ran(module_of(body, extra=SAMPLE + COUNT, compat=elf)).end(5).exit_status == 3


@pytest.mark.parametrize("timeout_ms", [-1, -2147483648])
def test_a_poll_without_end_waits_for_a_sample(elf: bytes, call: Call, timeout_ms: int) -> None:
    body = f"{load(elf)} (call $exit (i32.sub (i32.const 0) (i32.add (i32.const 3) {poll(272, timeout_ms)})))"
    ran = Ran(module_of(body, extra=SAMPLE + COUNT, compat=elf))
    ran.until(1)
    assert not ran.guest.has_ended
    call(1)
    assert ran.end().exit_status == 4


def test_a_poll_without_end_can_be_stopped(elf: bytes) -> None:
    ran = Ran(module_of(load(elf) + f"(drop {poll(272, -1)})", extra=SAMPLE + COUNT, compat=elf))
    ran.until(1)
    ran.guest.stop()
    assert ran.end().exit_status == 0


def test_a_function_may_return_nothing(elf: bytes, call: Call) -> None:
    silent = COUNT.replace("(result i32)", "").replace("(i32.const 0))", ")")
    ran = Ran(module_of(load(elf) + until(20), extra=SAMPLE + silent, compat=elf))
    ran.until(1)
    call(20)
    assert ran.end().exit_status == 0
    assert ran.printed() == [1000] + [7] * 20


def test_the_table_need_not_be_exported(elf: bytes, call: Call) -> None:
    inside = SAMPLE.replace('(export "__indirect_function_table")', "")
    ran = Ran(module_of(load(elf) + until(20), extra=inside + COUNT, compat=elf))
    ran.until(1)
    call(20)
    assert ran.end().exit_status == 0
    assert ran.printed() == [1000] + [7] * 20


def test_imports_may_be_of_the_module_that_linkers_take() -> None:
    text = """(module (import "env" "wasm_bpf_map_fd_by_name" (func $find (param i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
      (func (export "_start")
        (call $exit (i32.sub (i32.const 0) (call $find (i64.const 1) (i32.const 0))))))"""
    assert Ran(Module(module_of_text(text), "guest")).end().exit_status == errno.EBADF


def test_what_is_not_attached_is_told_at_once(elf: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = load(elf).replace("(i32.const 256)", "(i32.const 272)").replace("(i32.const -2)", "(i32.const 0)")
    assert Ran(module_of(wrong, extra=SAMPLE + COUNT, compat=elf)).end().exit_status == 0
    assert capfd.readouterr().err.startswith("warning: object 'object' has no program 'events'")


def test_what_is_not_loaded_is_told_to_who_goes_on(elf: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    careless = load(elf[: len(elf) // 2]).replace("i64.eqz", "i64.ne (i64.const 0)")
    careless = careless.replace("(i32.const -2)", "(i32.const 0)")
    assert Ran(module_of(careless, extra=SAMPLE + COUNT, compat=elf)).end().exit_status == 0
    said = capfd.readouterr().err
    assert said.startswith("warning: ")
    assert "cut short" in said or "damaged" in said


def test_tinygo_has_one_function_for_all_samples(elf: bytes, call: Call) -> None:
    wrapper = """(import "callback-wrapper" "wasm_bpf_buffer_poll"
      (func $wrapped (param i64 i32 i32 i32 i32 i32) (result i32)))"""
    poll_it = """(loop (drop (call $wrapped (local.get $h)
        (call $wasm_bpf_map_fd_by_name (local.get $h) (i32.const 272))
        (i32.const 5) (i32.const 65000) (i32.const 64) (i32.const 1000)))
      (br_if 0 (i32.lt_u (global.get $count) (i32.const 10))))"""
    globals_ = SAMPLE[SAMPLE.index("(global") :]
    callback = COUNT.replace("(func $sample", '(func $sample (export "go-callback")')
    module = module_of(load(elf) + poll_it, extra=globals_ + callback, compat=elf, imports=wrapper)
    ran = Ran(module)
    ran.until(1)
    call(10)
    assert ran.end().exit_status == 0
    assert ran.printed() == [1000] + [7] * 10


def test_a_truncated_object_is_no_object(elf: bytes) -> None:
    ran = Ran(module_of(load(elf[: len(elf) // 2]), extra=SAMPLE + COUNT, compat=elf))
    result = ran.end()
    assert result.exit_status == 1
    assert result.error is not None
    assert "cut short" in str(result.error) or "damaged" in str(result.error)
