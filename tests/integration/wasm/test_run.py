"""`wbpf run`: exit statuses, and exact errors for what goes wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.wasm.conftest import Wbpf
from tests.integration.wasm.guests import ELF_AT, module_of
from tests.integration.wasm.test_wasm_bpf import COUNT, SAMPLE, load
from wbpf.errors import ConfigError
from wbpf.wasm.manifest import Capabilities, EventType, Field, Manifest
from wbpf.wasm.module import Module
from wbpf.wasm.params import Param
from wbpf.wasm.sections import with_sections

OPEN = """(local $o i32) (local $p i32)
  (local.set $o (call $object_open (i32.const 0) (i32.const 0)))
  (if (i32.le_s (local.get $o) (i32.const 0)) (then (call $exit (i32.const -1))))"""
LOAD = "(if (call $object_load (local.get $o)) (then (call $exit (i32.const -2))))"
MANIFEST = Manifest(
    "guest",
    params=(Param("low", "uint", 3, "the least"),),
    capabilities=Capabilities(programs=("raw_tracepoint",), attach=("raw_tp/sys_enter",)),
    events=(EventType("pair", 8, (Field("a", 0, 4, "uint"), Field("b", 4, 4, "int"))),),
)
EMIT = """(i32.store (i32.const 2048) (i32.const 5)) (i32.store (i32.const 2052) (i32.const -6))
  (i32.store (i32.const 2056) (i32.const 7)) (i32.store (i32.const 2060) (i32.const 8))
  (call $exit (i32.sub (i32.const 0) (call $emit (i32.const 0) (i32.const 2048) (i32.const 16))))"""


def test_the_status_of_the_guest_is_the_status_of_the_command(wbpf: Wbpf) -> None:
    done = wbpf(module_of("(call $exit (i32.const -42))").wasm)
    assert (done.returncode, done.stdout) == (42, "")


def test_the_second_start_takes_the_code_from_the_cache(wbpf: Wbpf, tmp_path: Path) -> None:
    wasm = module_of("(call $exit (i32.const -4))").wasm
    assert wbpf(wasm).returncode == 4
    (code,) = (tmp_path / "cache/wasm").glob("*.cwasm")
    assert code.stat().st_mode & 0o777 == 0o600 and (tmp_path / "cache/wasm").stat().st_mode & 0o777 == 0o700
    before = code.stat().st_mtime_ns
    assert wbpf(wasm).returncode == 4 and code.stat().st_mtime_ns == before
    # code that others may have written is not run
    code.write_bytes(b"hostile")
    code.chmod(0o666)
    assert wbpf(wasm).returncode == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#!/bin/sh", "not a WebAssembly module: it does not start with \\0asm"),
        (b"\0asm\x0d\0\x01\0", "not a core WebAssembly module: it is a component"),
        (
            b"\0asm\x01\0\0\0\x01\x7f",
            "the WebAssembly module is damaged: it is cut short, section 1 at 8 ends",
        ),
    ],
)
def test_not_a_module(wbpf: Wbpf, content: bytes, said: str) -> None:
    done = wbpf(content)
    assert done.returncode == 5 and f"app.wasm' can't be run: {said}" in done.stderr


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        ("wbpf", "map_lookupp", "wbpf has no such function: did you mean map_lookup?"),
        ("env", "puts", "it is a function that the linker did not find"),
        ("ig", "newMap", "it belongs to Inspektor Gadget"),
        ("wali", "SYS_open", "it belongs to WALI, Linux's system calls"),
        ("wasi:io/poll@0.2.0", "poll", "it belongs to WASI 0.2"),
        ("mine", "thing", "it is of no ABI known here"),
    ],
)
def test_unknown_imports_are_explained(wbpf: Wbpf, module: str, name: str, said: str) -> None:
    done = wbpf(module_of("", imports=f'(import "{module}" "{name}" (func))').wasm)
    assert done.returncode == 12
    assert f"error: the module imports {module}.{name}, which is unknown: {said}" in done.stderr


def test_another_abi(wbpf: Wbpf) -> None:
    export = '(func (export "wbpf_abi") (result i32) (i32.const 2))'
    done = wbpf(module_of("", extra=export).wasm)
    assert done.returncode == 12
    assert "it was built for version 2 of the guest ABI `wbpf`, this is 1" in done.stderr


def test_nothing_is_granted_by_itself(wbpf: Wbpf, elf: bytes) -> None:
    wasm = with_sections(module_of(OPEN + LOAD, elf).wasm, {"wbpf.manifest": MANIFEST.to_json()})
    done = wbpf(wasm)
    assert done.returncode == 3
    assert done.stderr == (
        "error: module 'app.wasm' is not granted programs, attach: it asks to load eBPF programs: "
        "raw_tracepoint; it asks to attach them: raw_tp/sys_enter\n  try: --allow programs,attach\n"
    )
    assert wbpf(wasm, "--allow", "programs,attach").returncode == 0


def test_more_than_was_asked_for_is_refused(wbpf: Wbpf, elf: bytes) -> None:
    manifest = Manifest("guest", capabilities=Capabilities(programs=("xdp",))).to_json()
    done = wbpf(
        with_sections(module_of(OPEN + LOAD, elf).wasm, {"wbpf.manifest": manifest}), "--allow", "all"
    )
    assert done.returncode == 2
    assert "may not be loaded: the manifest asks for xdp, it is of type raw_tracepoint" in done.stderr


def test_without_rights(wbpf: Wbpf, elf: bytes) -> None:
    done = wbpf(module_of(OPEN + LOAD, elf).wasm, "--backend", "kernel", unprivileged=True)
    assert done.returncode == 2, done.stderr
    assert "can't be loaded: CAP_BPF and CAP_PERFMON are missing" in done.stderr
    assert "app.wasm ended with status 2" in done.stderr


def test_a_program_that_the_verifier_refuses(wbpf: Wbpf, compiled: Callable[..., bytes], elf: bytes) -> None:
    done = wbpf(module_of(OPEN + LOAD, compiled("-DREFUSED")).wasm)
    assert done.returncode == 2
    assert "program 'refused' of 'guest' can't be loaded" in done.stderr
    assert "guest.bpf.c" in done.stderr  # the line of the source


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("(call $program_find (local.get $o) (i32.const 272) (i32.const 6))", "has no program 'events'"),
        ("(call $map_find (local.get $o) (i32.const 272) (i32.const 5))", "did you mean 'events'?"),
    ],
)  # fmt: skip
def test_what_is_not_there(wbpf: Wbpf, elf: bytes, call: str, said: str) -> None:
    done = wbpf(module_of(f"{OPEN} (call $exit {call})", elf).wasm)
    assert done.returncode == 2 and said in done.stderr


def test_a_truncated_object(wbpf: Wbpf, elf: bytes) -> None:
    done = wbpf(module_of(load(elf[:5000]), extra=SAMPLE + COUNT, compat=elf[:5000]).wasm)
    assert done.returncode == 1 and "error: " in done.stderr and str(ELF_AT) not in done.stderr
    assert "cut short" in done.stderr or "damaged" in done.stderr


def test_events_are_printed_and_filtered(wbpf: Wbpf) -> None:
    manifest = Manifest("guest", events=MANIFEST.events, params=MANIFEST.params).to_json()
    wasm = with_sections(module_of(EMIT).wasm, {"wbpf.manifest": manifest})
    assert wbpf(wasm, "-o", "json").stdout == '{"a": 5, "b": -6}\n{"a": 7, "b": 8}\n'
    assert wbpf(wasm, "-o", "yaml").stdout == "- a: 5\n  b: -6\n- a: 7\n  b: 8\n"
    done = wbpf(wasm, "--filter", "a > 5", "--fields", "b", "-o", "json")
    assert (done.stdout, done.returncode) == ('{"b": 8}\n', 1)
    columns = wbpf(wasm).stdout.splitlines()
    assert columns[0].split() == ["A", "B"] and columns[1].split() == ["5", "-6"]
    assert wbpf(wasm, "--filter", "c > 5").returncode == 2
    assert "use the fields a, b" in wbpf(wasm, "--filter", "c > 5").stderr
    assert "there is no flag --lov: did you mean --low?" in wbpf(wasm, "--lov=3").stderr
    assert "--low UINT  the least [3]" in wbpf(wasm, "--help").stdout


def test_a_filter_needs_the_program_to_have_one(wbpf: Wbpf, elf: bytes) -> None:
    done = wbpf(module_of(OPEN + LOAD, elf).wasm, "--pid", "1")
    assert "can't filter by --pid, --comm or --cgroup" in done.stderr and done.returncode == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--comm", "sixteen bytes !!"), "--comm 'sixteen bytes !!' can't be used: it has 16 bytes"),
        (("--pid", "4194305"), "--pid 4194305 can't be used: there is no such process"),
        (("--cgroup", "no/such"), "--cgroup 'no/such' can't be used: No such file"),
        (("--cgroup", "/etc"), "--cgroup '/etc' can't be used"),
    ],
)
def test_a_bad_filter_is_found_before_the_module_runs(wbpf: Wbpf, words: tuple[str, str], said: str) -> None:
    """The module would end with another status."""
    done = wbpf(module_of("(call $exit (i32.const -42))").wasm, *words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}") and "\n  try: " in done.stderr


def test_the_pid_of_a_thread_is_told_apart(wbpf: Wbpf) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        done = wbpf(module_of("").wasm, "--pid", str(thread.native_id))
    finally:
        end.set()
        thread.join()
    assert done.returncode == 2
    assert f"it is a thread of process {os.getpid()}\n  try: --pid {os.getpid()}\n" in done.stderr


ASKING = """(drop (call $object_open (i32.const 272) (i32.const 6)))
  (drop (call $last_error (i32.const 2048) (i32.const 512))) (call $exit (i32.const -1))"""


def test_an_error_that_the_module_asked_for_is_not_told_twice(wbpf: Wbpf, elf: bytes) -> None:
    wasm = with_sections(module_of(ASKING, elf).wasm, {})
    assert wbpf(wasm).stderr == "app.wasm ended with status 1\n"
    silent = module_of(ASKING.replace("(drop (call $last_error (i32.const 2048) (i32.const 512)))", ""), elf)
    assert "error: the module has no eBPF object 'events'" in wbpf(silent.wasm).stderr
    later = module_of(f"(drop (call $last_error (i32.const 2048) (i32.const 512))) {ASKING}", elf)
    assert wbpf(later.wasm).stderr == "app.wasm ended with status 1\n"
    again = module_of(
        ASKING.replace(
            "(call $exit", "(drop (call $map_find (i32.const 9) (i32.const 272) (i32.const 6))) (call $exit"
        ),
        elf,
    )
    assert "error: " in wbpf(again.wasm).stderr, "of the last failure it did not ask"


def test_parameters_from_python_are_read_like_flags() -> None:
    params = (Param("interval", "duration", "1s"), Param("low", "uint", 3))
    manifest = Manifest("guest", params=params).to_json()
    ask = """(call $exit (i32.sub (i32.const 0)
      (call $param_get (i32.const 384) (i32.const 8) (i32.const 2048) (i32.const 64))))"""
    name = '(data (i32.const 384) "interval")'
    module = Module(with_sections(module_of(ask, extra=name).wasm, {"wbpf.manifest": manifest}), "guest")
    assert module.run(params={"interval": "1h"}).exit_status == len("3600000000000")
    assert module.run(params={"interval": 10**9}).exit_status == len("1000000000")
    with pytest.raises(ConfigError, match="--interval='soon' can't be used: it must be a number with a unit"):
        module.run(params={"interval": "soon"})
    with pytest.raises(ConfigError, match="--low='-1' can't be used"):
        module.run(params={"low": -1})


def test_a_time_limit(wbpf: Wbpf) -> None:
    assert wbpf(module_of("(loop (br 0))").wasm, "--duration", "300ms").returncode == 0
    done = wbpf(module_of("(loop (br 0))").wasm, "--deadline", "200ms")
    assert done.returncode == 12 and "it computed for 200 ms without waiting" in done.stderr
