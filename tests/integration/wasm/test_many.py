"""Several modules, several guests of one, and several objects in one, in a single process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.integration.wasm.guests import Ran, links, module_of
from tests.integration.wasm.test_run import LOAD, OPEN
from tests.integration.wasm.test_wasm_bpf import COUNT, SAMPLE, load, until
from wbpf.errors import WasmError
from wbpf.wasm import Module
from wbpf.wasm.result import Cause
from wbpf.wasm.sections import with_sections

Call = Callable[[int], None]

ATTACH = """(drop (call $program_attach (call $program_find (local.get $o) (i32.const 256) (i32.const 8))
  (i32.const 0) (i32.const 0) (i64.const 0)))"""
FOREVER = "(loop (br 0))"


def test_what_one_does_harms_no_other(elf: bytes, call: Call) -> None:
    before = links()
    counting = load(elf) + until(200) + "(call $exit (i32.const -9))"
    modules = [module_of(counting, extra=SAMPLE + COUNT, compat=elf) for _ in range(2)]
    guests = [Ran(modules[0]), Ran(modules[0]), Ran(modules[1])]
    trapping = Ran(module_of(load(elf) + until(50) + "(unreachable)", extra=SAMPLE + COUNT, compat=elf))
    for ran in (*guests, trapping):
        ran.until(1)
    assert links() == before + 4
    call(100)
    with pytest.raises(WasmError, match="unreachable"):
        trapping.end()
    assert links() == before + 3
    call(100)
    for ran in guests:
        assert ran.end().exit_status == 9
        assert ran.printed() == [1000] + [7] * 200
    assert links() == before


def test_several_objects_in_one(elf: bytes) -> None:
    def module(first: str, second: str) -> Module:
        names = f'(data (i32.const 400) "{first}") (data (i32.const 416) "{second}")'
        body = "(local $o i32) (local $p i32)" + "".join(
            f"""(local.set $o (call $object_open (i32.const {at}) (i32.const {len(name)})))
            (call $print (i32.gt_s (local.get $o) (i32.const 0)))
            (if (i32.gt_s (local.get $o) (i32.const 0)) (then {LOAD} {ATTACH}))"""
            for at, name in ((400, first), (416, second))
        )
        wasm = module_of(body + f"(call $print (i32.const 7)) {FOREVER}", extra=names).wasm
        return Module(with_sections(wasm, {"wbpf.object.one": elf, "wbpf.object.other": elf}))

    before = links()
    for first, second, found in (("one", "other", [1, 1]), ("other", "third", [1, 0]), ("", "one", [0, 1])):
        ran = Ran(module(first, second))
        assert ran.until(3) == [*found, 7]
        assert links() == before + sum(found)
        ran.guest.stop()
        assert ran.end().cause is Cause.STOPPED
        assert links() == before


def test_the_event_loop_goes_on_meanwhile(elf: bytes) -> None:
    forever = module_of(OPEN + LOAD + ATTACH + FOREVER, elf)

    async def main() -> int:
        ticks = 0
        first = asyncio.create_task(forever.run_async(duration_s=0.6))
        second = asyncio.create_task(forever.run_async(duration_s=0.6))
        while not (first.done() and second.done()):
            await asyncio.sleep(0.01)
            ticks += 1
        assert {(await first).cause, (await second).cause} == {Cause.STOPPED}
        return ticks

    before = links()
    assert asyncio.run(main()) > 20
    assert links() == before


def test_cancelling_stops_and_detaches(elf: bytes) -> None:
    forever = module_of(OPEN + LOAD + ATTACH + FOREVER, elf)
    before = links()

    async def main() -> float:
        task = asyncio.create_task(forever.run_async())
        while links() == before:
            await asyncio.sleep(0.01)
        task.cancel()
        start = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - start

    assert asyncio.run(main()) < 2
    assert links() == before


def test_a_trap_is_raised_where_it_is_awaited() -> None:
    with pytest.raises(WasmError, match="unreachable"):
        asyncio.run(module_of("(unreachable)").run_async())
