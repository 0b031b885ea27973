"""`wbpf run` without Python: what it does itself, when it starts Python."""

from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.wasm.conftest import COMMAND as WBPF
from tests.integration.wasm.conftest import HERE
from tests.integration.wasm.guests import module_of
from tests.integration.wasm.launched import LOAD, OPEN, PYTHON, SAY, Started, text_of
from wbpf.build import compile_bpf
from wbpf.wasm.manifest import Capabilities, Manifest
from wbpf.wasm.params import Choice, Param
from wbpf.wasm.plan import plan_of
from wbpf.wasm.sections import with_sections


def test_a_second_start_needs_no_python(started: Started) -> None:
    path = started.module(module_of("(call $exit (i32.const -7))").wasm)
    assert started.without_python(path).returncode == 127
    assert started.run([str(WBPF)], path).returncode == 7
    assert started.without_python(path).returncode == 7
    # another module by the same name
    started.module(module_of("(call $exit (i32.const -8))").wasm)
    assert started.without_python(path).returncode == 127


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["-h"],
        ["--pid", "0"],
        ["--pid", "99999999"],
        ["--comm=sixteen bytes now"],
        ["--cgroup", "/"],
        ["--filter", "a > 1"],
        ["--btf", "none"],
        ["--backend", "user"],
        ["--nothing"],
        ["-x"],
        ["-o", "xml"],
        ["-o"],
        ["--fields", "c"],
        ["--duration", "0s"],
        ["--duration", "10"],
        ["--deadline", "1.5"],
        ["--memory", "0"],
        ["--allow", "much"],
        ["--allow", "attach"],
        ["--low", "-1"],
        ["--low", "one"],
        ["--ratio", "0.5"],
        ["--on=maybe"],
        ["--mode", "third"],
        ["--name", "µ"],
        ["--for", "1e3s"],
    ],
)
def test_whatever_is_in_doubt_is_pythons(started: Started, words: list[str]) -> None:
    params = (
        Param("low", "uint", 3),
        Param("on", "bool", False),
        Param("ratio", "float", 0.25),
        Param("mode", "enum", "first", choices=(Choice("first"), Choice("second"))),
        Param("name", "string", "x"),
        Param("for", "duration", "1s"),
    )
    path = started.module(text_of(params=params, body="(call $exit (i32.const -3))", programs=("xdp",)))
    assert started.run(PYTHON, path, "--allow", "all").returncode == 3
    assert started.without_python(path, "--allow", "all").returncode == 3
    given = words if "--allow" in words else ["--allow", "all", *words]
    assert started.without_python(path, *given).returncode == 127


@pytest.mark.parametrize(
    "asked",
    [
        {"fs": ("/etc:ro",)},
        {"attach": ("tp/sys[ab]/x",)},
    ],
)
def test_some_modules_are_pythons(started: Started, asked: dict[str, tuple[str, ...]]) -> None:
    path = started.module(text_of(body="(call $exit (i32.const -3))", **asked))
    assert started.run(PYTHON, path, "--allow", "all").returncode == 3
    assert started.without_python(path, "--allow", "all").returncode == 127


SEND = """(local $s i32) (local.set $s (call $socket_connect (i32.const 512) (i32.const {}) (i32.const 1000)))
  (if (i32.lt_s (local.get $s) (i32.const 0)) (then (call $exit (local.get $s))))
  (call $exit (i32.sub (i32.const 0)
    (call $socket_send (local.get $s) (i32.const 512) (i32.const 3) (i32.const 0))))"""


def sender(address: str, *patterns: str) -> bytes:
    """A module that sends `udp` to an address, and ends with 3."""
    data = f'(data (i32.const 512) "{address}")'
    manifest = Manifest(
        "guest", params=(Param("to", "string", ""),), capabilities=Capabilities(network=patterns)
    )  # fmt: skip
    wasm = module_of(SEND.format(len(address)), extra=data).wasm
    return with_sections(wasm, {"wbpf.manifest": manifest.to_json()})


def test_sockets_need_no_python(started: Started) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]
        path = started.module(sender(f"udp:127.0.0.1:{port}", "udp:127.0.0.1:*"))
        assert started.both(path, "--allow", "network").returncode == 3
        assert started.without_python(path, "--allow", "network").returncode == 3
        assert [server.recv(9) for _ in range(3)] == [b"udp"] * 3
    assert started.without_python(path).returncode == 127  # Python says that it is not granted
    refused = started.both(path)
    assert refused.returncode == 3
    assert refused.stderr.endswith("it asks to connect to: udp:127.0.0.1:*\n  try: --allow network\n")


def test_what_a_parameter_names_is_granted(started: Started) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        to = f"127.0.0.1:{server.getsockname()[1]}"
        path = started.module(sender(f"udp:{to}", "udp:{to}"))
        granted = started.both(path, "--allow", "network", "--to", to)
        assert (
            granted.returncode == started.without_python(path, "--allow", "all", f"--to={to}").returncode == 3
        )
        assert [server.recv(9) for _ in range(3)] == [b"udp"] * 3
    # without a value nothing is asked for, and nothing granted
    assert started.both(path).returncode == errno.EPERM
    other = started.both(path, "--allow", "network", "--to", "127.0.0.1:9")
    assert other.returncode == errno.EPERM
    assert other.stderr.startswith(
        f'error: socket_connect failed: udp:{to} is not granted: add "udp:{to}" to capabilities.network in '
        "wbpf.toml and build again\n"
    )
    wrong = started.both(path, "--allow", "network", "--to", "nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "error: --to nowhere can't be used: 'udp:nowhere' is no address\n"
        "  try: an address is tcp:HOST:PORT, udp:HOST:PORT or unix:/PATH\n"
    )


def test_objects_of_other_kinds_are_pythons(compiled: Callable[..., bytes]) -> None:
    module = module_of(OPEN, compiled())
    assert plan_of(module, [("wbpf", "object_open")], ()) is not None
    assert plan_of(module, [("wbpf", "symbolise")], ()) is None
    other = compiled().replace(b"raw_tp/sys_enter\0", b"usdt/xxxxxxxxxxx\0")
    assert other != compiled()
    assert plan_of(module_of(OPEN, other), [("wbpf", "object_open")], ()) is None
    assert plan_of(module_of(OPEN), [("wbpf", "object_open_mem")], ()) is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--low", "18"],
        ["--low=000", "--on", "--name", "", "--for", "1500us", "--mode=second", "--deep", "-9"],
        ["--no-on", "--name=a b", "--for", "2.5s", "--low", "999999999999999999"],
        ["--on=yes", "--on=off", "--low=1", "--low=2", "first", "-", "--", "--low", "9"],
    ],
)
def test_parameters(started: Started, words: list[str]) -> None:
    params = (
        Param("low", "uint", 3),
        Param("deep", "int", -5),
        Param("on", "bool", True),
        Param("ratio", "float", 0.25),
        Param("mode", "enum", "first", choices=(Choice("first"), Choice("second"))),
        Param("name", "string", "x"),
        Param("for", "duration", "10ms"),
    )
    names = [param.name for param in params]
    data = "".join(f'(data (i32.const {8192 + 16 * at}) "{name}")' for at, name in enumerate(names))
    asked = "".join(
        f"""(call $say (call $param_get (i32.const {8192 + 16 * at}) (i32.const {len(name)})
          (i32.const 4096) (i32.const 64)))
        (i32.store (i32.const 4096) (i32.const 10)) (call $say (i32.const 1))"""
        for at, name in enumerate(names)
    )
    manifest = Manifest("guest", params=params).to_json()
    wasm = module_of(asked, extra=SAY + data).wasm
    path = started.module(with_sections(wasm, {"wbpf.manifest": manifest}))
    done = started.both(path, *words)
    assert done.returncode == 0 and len(done.stdout.splitlines()) >= len(params) - 1
    assert started.without_python(path, *words).stdout == done.stdout


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("(call $program_find (local.get $o) (i32.const 272) (i32.const 6))", "has no program 'events'"),
        ("(call $object_set (local.get $o) (i32.const 256) (i32.const 3) (i32.const 0) (i32.const 1))",
         "has no variable"),
        ("(call $object_open (i32.const 256) (i32.const 8))", "the module has no eBPF object 'on_enter'"),
        ("(call $program_attach (local.get $p) (i32.const 256) (i32.const 8) (i64.const 0))",
         "the kernel has no such raw tracepoint"),
        ("(call $program_attach (local.get $p) (i32.const 4) (i32.const 3) (i64.const 0))",
         "is no NAME"),
        ("(call $object_load (local.get $o))", "is loaded"),
        ("(call $param_get (i32.const 256) (i32.const 3) (i32.const 0) (i32.const 1))", "no parameter"),
        ("(call $emit (i32.const 3) (i32.const 0) (i32.const 1))", "the manifest has no event type 3"),
        ("(call $map_delete (i32.const 99) (i32.const 0) (i32.const 1))", "99 is the handle of no map"),
    ],
)  # fmt: skip
def test_words_for_what_fails_after_the_start(started: Started, elf: bytes, call: str, said: str) -> None:
    """Python finds them, also where the module asks for them itself."""
    ask = "(call $say (call $last_error (i32.const 4096) (i32.const 2048)))"
    for asks in (False, True):
        body = f"""{OPEN} {LOAD}
          (local.set $p (call $program_find (local.get $o) (i32.const 256) (i32.const 8)))
          (drop {call}) {ask if asks else "(call $print (i32.const 1))"} (call $exit (i32.const -9))"""
        path = started.module(module_of(body, elf, extra=SAY + '(data (i32.const 4) "a b")').wasm)
        done = started.both(path)
        assert done.returncode == 9 and said in (done.stdout if asks else done.stderr)
        alone = started.without_python(path)  # it runs, and has no words
        assert alone.stdout and alone.returncode == (9 if asks else 127)


def test_filters(started: Started, elf: bytes, tmp_path: Path) -> None:
    """The variable of the object is the same as by Python."""
    named = '(data (i32.const 512) "wbpf_filter")'
    body = f"""{OPEN} (call $say (call $object_get (local.get $o) (i32.const 512) (i32.const 11)
      (i32.const 4096) (i32.const 64)))"""
    filtered = compile_bpf(HERE / "filtered.bpf.c", tmp_path / "filtered.o").read_bytes()
    wasm = module_of(body, filtered, extra=SAY + named).wasm
    path = started.module(wasm)
    for words in ([], ["--pid", str(os.getpid())], ["--comm", "sh", "--pid=1"], ["--comm="]):
        done = started.both(path, *words)
        assert len(done.stdout) == 40 and started.without_python(path, *words).stdout == done.stdout
    assert done.stdout[0] == "\2"


def test_what_others_can_write_is_not_used(started: Started) -> None:
    path = started.module(module_of("(call $exit (i32.const -7))").wasm)
    assert started.run(PYTHON, path).returncode == 7
    (plan,), (code,) = started.cache.glob("*.plan"), started.cache.glob("*.cwasm")
    for file in (plan, code, started.cache):
        mode = file.stat().st_mode
        file.chmod(mode | 0o020)
        assert started.without_python(path).returncode == 127
        file.chmod(mode)
    os.chown(plan, 12345, -1)
    assert started.without_python(path).returncode == 127
    os.chown(plan, os.geteuid(), -1)
    assert started.without_python(path).returncode == 7
    elsewhere = plan.rename(started.cache / "elsewhere")
    plan.symlink_to(elsewhere)
    assert started.without_python(path).returncode == 127


def test_a_damaged_plan_is_none(started: Started) -> None:
    params = (Param("mode", "enum", "a", choices=(Choice("a", ("x",)), Choice("b"))),)
    path = started.module(text_of(params=params, body="(call $exit (i32.const -7))"))
    assert started.run(PYTHON, path).returncode == 7
    (plan,) = started.cache.glob("*.plan")
    good = plan.read_bytes()
    rng = random.Random(1)
    for at in [*range(40), *rng.sample(range(40, len(good)), 20)]:
        plan.write_bytes(good[:at])
        assert started.without_python(path).returncode == 127
    seen = set()
    for _ in range(150):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
        plan.write_bytes(damaged)
        status = started.without_python(path).returncode
        assert status in (2, 7, 12, 127)  # never by a signal
        seen.add(status)
    assert 127 in seen
    plan.write_bytes(b"")
    assert started.run([str(WBPF)], path).returncode == 7  # Python writes it anew
    assert plan.read_bytes() == good and started.without_python(path).returncode == 7


def test_a_python_beside_it_that_may_not_be_run_is_named(started: Started) -> None:
    beside = started.alone.with_name("python3")
    beside.touch(mode=0o600)
    done = subprocess.run([str(started.alone), "--version"], capture_output=True, text=True)
    assert done.stderr.startswith(f"error: {beside} can't be started: Permission denied\n  try: ")
    assert done.returncode == 127


def test_other_commands_are_pythons(started: Started) -> None:
    done = subprocess.run([str(WBPF), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("wbpf ")
    # nothing of the current directory is imported
    (started.alone.parent / "wbpf.py").write_text("raise SystemExit(99)\n")
    command = [str(WBPF), "run", "--help"]
    assert subprocess.run(command, cwd=started.alone.parent, stdout=subprocess.DEVNULL).returncode == 0
