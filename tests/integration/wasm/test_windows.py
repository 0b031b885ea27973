"""Rings and arrays in the memory of guests, and guests that write where they may only read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.integration.wasm.guests import Ran, links, module_of
from wbpf.errors import WasmError

Call = Callable[[int], None]

OPEN = """(local $o i32) (local $ring i32) (local $n i32) (local $at i32) (local $m i32)
  (local.set $o (call $object_open (i32.const 0) (i32.const 0)))
  (if (call $object_load (local.get $o)) (then (call $exit (i32.const -1))))
  (local.set $m (call $map_find (local.get $o) (i32.const 272) (i32.const 6)))
  (local.set $ring (call $ring_open (local.get $m) (i32.const 1)))
  (if (i32.le_s (local.get $ring) (i32.const 0)) (then (call $exit (i32.const -2))))
  (if (call $ring_window (local.get $ring) (i32.const 1024)) (then (call $exit (i32.const -3))))
  (if (i32.le_s (call $program_attach (call $program_find (local.get $o) (i32.const 256) (i32.const 8))
      (i32.const 0) (i32.const 0) (i64.const 0)) (i32.const 0)) (then (call $exit (i32.const -4))))
  (call $print (i32.const 1000))"""
#: Wait, then print the second word of each record up to the producer's position.
SWEEP = """(loop
    (drop (call $wait (i32.const 3000) (i32.const 2048) (i32.const 4)))
    (loop (if (i64.lt_u (i64.load (i32.load (i32.const 1024))) (i64.load (i32.load (i32.const 1028)))) (then
      (local.set $at (i32.add (i32.load (i32.const 1032))
        (i32.and (i32.load (i32.const 1036)) (i32.wrap_i64 (i64.load (i32.load (i32.const 1024)))))))
      (call $print (i32.load offset=16 (local.get $at)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (i64.store (i32.load (i32.const 1024)) (i64.add (i64.load (i32.load (i32.const 1024))) (i64.const 24)))
      (br 1))))
    (br_if 0 (i32.lt_u (local.get $n) (i32.const 3000))))"""
WINDOW = """(local.set $m (call $map_find (local.get $o) (i32.const 352) (i32.const 6)))
  (local.set $at (i32.wrap_i64 (call $map_window (local.get $m) (i32.const {flags}))))
  (if (i32.le_s (local.get $at) (i32.const 0)) (then (call $exit (i32.const -5))))"""


def test_a_ring_is_read_in_place_around_its_end(elf: bytes, call: Call) -> None:
    ran = Ran(module_of(OPEN + SWEEP, elf))
    ran.until(1)
    for done in range(100, 3001, 100):
        call(100)
        ran.until(done + 1)
    assert ran.end().exit_status == 0
    assert ran.printed() == [1000] + [7] * 3000


@pytest.mark.parametrize("where", [1028, 1032])
def test_a_store_to_what_is_only_read_is_a_trap(elf: bytes, where: int) -> None:
    before = links()
    ran = Ran(module_of(f"{OPEN} (i32.store (i32.load (i32.const {where})) (i32.const 1))", elf))
    with pytest.raises(WasmError, match=r"out of bounds memory access.*\n.*window") as caught:
        ran.end()
    assert "trapped" in caught.value.what and links() == before


HOSTILE = {
    "memory.fill": "(memory.fill (i32.load (i32.const 1032)) (i32.const 1) (i32.const 4096))",
    "memory.copy": "(memory.copy (i32.load (i32.const 1032)) (i32.const 0) (i32.const 4096))",
    "random_get": "(drop (call $random_get (i32.load (i32.const 1032)) (i32.const 64)))",
    "clock_time_get": """(drop (call $clock_time_get (i32.const 0) (i64.const 0)
      (i32.load (i32.const 1032))))""",
    "args_get": "(drop (call $args_get (i32.load (i32.const 1032)) (i32.load (i32.const 1032))))",
    "map_info": "(drop (call $map_info (local.get $m) (i32.load (i32.const 1032))))",
    "ring_window": "(drop (call $ring_window (local.get $ring) (i32.load (i32.const 1032))))",
}
WASI = """
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get"
    (func $clock_time_get (param i32 i64 i32) (result i32)))"""


@pytest.mark.parametrize("how", HOSTILE)
def test_what_the_host_writes_to_a_window_ends_that_guest_only(elf: bytes, how: str) -> None:
    before = links()
    ran = Ran(module_of(f"{OPEN} {HOSTILE[how]} (loop (br 0))", elf, imports=WASI))
    with pytest.raises(WasmError, match="window"):
        ran.end()
    assert ran.printed() == [1000] and links() == before


def test_maps_are_not_read_into_a_window(elf: bytes) -> None:
    lookup = """(local.set $m (call $map_find (local.get $o) (i32.const 352) (i32.const 6)))
      (call $exit (call $map_lookup (local.get $m) (i32.const 0) (i32.const 4)
        (i32.load (i32.const 1032)) (i32.const 8) (i64.const 0)))"""
    assert Ran(module_of(OPEN + lookup, elf)).end().exit_status == 14  # EFAULT, from the kernel


def test_an_array_is_shared(elf: bytes) -> None:
    body = (
        OPEN
        + WINDOW.format(flags=1)
        + """
      (i64.store offset=8 (local.get $at) (i64.const 77)) (i32.store (i32.const 2048) (i32.const 1))
      (if (call $map_lookup (local.get $m) (i32.const 2048) (i32.const 4) (i32.const 3072) (i32.const 8)
        (i64.const 0)) (then (call $exit (i32.const -6))))
      (call $print (i32.load (i32.const 3072)))
      (i64.store (i32.const 3072) (i64.const 78))
      (drop (call $map_update (local.get $m) (i32.const 2048) (i32.const 4) (i32.const 3072) (i32.const 8)
        (i64.const 0)))
      (call $print (i32.load offset=8 (local.get $at)))"""
    )
    ran = Ran(module_of(body, elf))
    assert ran.end().exit_status == 0 and ran.printed() == [1000, 77, 78]


def test_an_array_that_is_only_read(elf: bytes) -> None:
    body = OPEN + WINDOW.format(flags=0) + "(i64.store offset=8 (local.get $at) (i64.const 77))"
    with pytest.raises(WasmError, match="out of bounds"):
        Ran(module_of(body, elf)).end()


def test_a_position_that_makes_no_sense_does_not_keep_the_host(elf: bytes, call: Call) -> None:
    body = (
        OPEN
        + """(i64.store (i32.load (i32.const 1024)) (i64.const -9223372036854775807))
      (call $print (i32.const 2))
      (drop (call $wait (i32.const 100) (i32.const 2048) (i32.const 4))) (call $exit (i32.const -9))"""
    )
    ran = Ran(module_of(body, elf))
    ran.until(1)
    call(3)
    assert ran.end(5).exit_status == 9


def test_a_ring_read_in_place_is_not_read_otherwise_afterwards(elf: bytes) -> None:
    body = (
        OPEN
        + """(drop (call $ring_close (local.get $ring)))
      (call $exit (call $ring_open (local.get $m) (i32.const 0)))"""
    )
    assert Ran(module_of(body, elf)).end().exit_status == 22


def test_a_fault_elsewhere_still_ends_the_process() -> None:
    # the handler for windows hands on what is not its own
    code = """import ctypes
from wbpf.wasm.module import Module, module_of_text
Module(module_of_text('(module (memory (export "memory") 1) (func (export "_start")))')).run()
ctypes.string_at(8)"""
    done = subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ}, capture_output=True)
    assert done.returncode == -11
