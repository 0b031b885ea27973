"""`wbpf run` without Python: what it does itself, when it starts Python, and how it ends."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.wasm.conftest import COMMAND as WBPF
from tests.integration.wasm.conftest import HERE
from tests.integration.wasm.guests import module_of
from wbpf.build import compile_bpf
from wbpf.wasm.manifest import Capabilities, EventType, Field, Manifest
from wbpf.wasm.params import Choice, Param
from wbpf.wasm.plan import plan_of
from wbpf.wasm.sections import with_sections

PYTHON = [sys.executable, "-m", "wbpf.cli"]
OPEN = "(local $o i32) (local $p i32) (local.set $o (call $object_open (i32.const 0) (i32.const 0)))"
LOAD = "(drop (call $object_load (local.get $o)))"
#: Writes `bytes` of memory at 4096 to standard output.
SAY = """(func $say (param $bytes i32)
  (i32.store (i32.const 40) (i32.const 4096)) (i32.store (i32.const 44) (local.get $bytes))
  (drop (call $fd_write (i32.const 1) (i32.const 40) (i32.const 1) (i32.const 48))))"""
PAIR = EventType("pair", 8, (Field("a", 0, 4, "uint"), Field("b", 4, 4, "int")))
#: Says `up`.
UP = "(i32.store (i32.const 4096) (i32.const 0x000a7075)) (call $say (i32.const 3))"
#: Waits until it is told to end; then says `bye` and ends with status 5.
PATIENT = f"""{UP} (drop (call $wait (i32.const -1) (i32.const 64) (i32.const 4)))
  (i32.store (i32.const 4096) (i32.const 0x0a657962)) (call $say (i32.const 4)) (call $exit (i32.const -5))"""


class Started:
    """The command in a folder of its own: with Python beside it, and without."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.cache = folder / "cache/wasm"
        self.environment = {**os.environ, "WBPF_CACHE_DIR": str(folder / "cache")}
        self.alone = folder / "bin/wbpf"
        self.alone.parent.mkdir()
        shutil.copy(WBPF, self.alone)

    def module(self, wasm: bytes) -> str:
        """The file of a module."""
        path = self._folder / "app.wasm"
        path.write_bytes(wasm)
        return str(path)

    def run(self, command: list[str], *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*command, "run", *words],
            capture_output=True, text=True, errors="surrogateescape", check=False,
            env=self.environment, timeout=60, input=input,
        )  # fmt: skip

    def without_python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it where no Python can be found: 127 if it wants one."""
        done = subprocess.run(
            [str(self.alone), "run", *words],
            capture_output=True, text=True, errors="surrogateescape", check=False, timeout=60,
            stdin=subprocess.DEVNULL,
            env={**self.environment, "PATH": "/nowhere"},
        )  # fmt: skip
        assert (done.returncode == 127) == ("can't be started" in done.stderr), done
        return done

    def both(self, path: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it by Python and by the command, which don't differ."""
        python, command = self.run(PYTHON, path, *words), self.run([str(WBPF)], path, *words)
        assert (command.returncode, command.stdout, command.stderr) == (
            python.returncode,
            python.stdout,
            python.stderr,
        )
        return command


@pytest.fixture
def started(tmp_path: Path) -> Started:
    return Started(tmp_path)


def text_of(*, params: tuple[Param, ...] = (), body: str, **capabilities: object) -> bytes:
    """A module with a manifest, events and parameters."""
    manifest = Manifest(
        "guest",
        params=params,
        events=(PAIR,),
        capabilities=Capabilities(**capabilities),  # type: ignore[arg-type]
    )
    return with_sections(module_of(body, extra=SAY).wasm, {"wbpf.manifest": manifest.to_json()})


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


def test_ctrl_c_ends_a_receive_without_end(started: Started) -> None:
    """It gets what it asked for: -EINTR, in time for what it has to say."""
    body = f"""(local $s i32)
      (local.set $s (call $socket_connect (i32.const 512) (i32.const 15) (i32.const 0))) {UP}
      (call $exit (call $socket_receive (local.get $s) (i32.const 4096) (i32.const 64) (i32.const -1)))"""
    manifest = Manifest("guest", capabilities=Capabilities(network=("udp:127.0.0.1:9",)))
    wasm = module_of(body, extra=SAY + '(data (i32.const 512) "udp:127.0.0.1:9")').wasm
    path = started.module(with_sections(wasm, {"wbpf.manifest": manifest.to_json()}))
    started.run([str(WBPF)], path, "--allow", "network", "--duration", "100ms")
    process = subprocess.Popen(
        [str(WBPF), "run", path, "--allow", "network"], stdout=subprocess.PIPE, env=started.environment
    )
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 128 + signal.SIGINT and time.monotonic() - before < 0.9
    process.stdout.close()


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


def test_events_in_their_order_with_text(started: Started) -> None:
    emit = """(i32.store (i32.const 2048) (i32.const 5)) (i32.store (i32.const 2052) (i32.const -6))
      (if (i32.ne (call $emit (i32.const 0) (i32.const 2048) (i32.const 8)) (i32.const 1))
        (then (call $exit (i32.const -1))))
      (i32.store (i32.const 4096) (i32.const 0x0a657962)) (call $say (i32.const 4))"""
    path = started.module(text_of(body=emit * 3 + "(call $exit (i32.const -4))"))
    done = started.both(path)
    assert done.returncode == 4 and [line.split() for line in done.stdout.splitlines()[:3]] == [
        ["A", "B"],
        ["5", "-6"],
        ["bye"],
    ]
    done = started.both(path, "-o", "json", "--fields", "b")
    assert done.stdout == '{"b": -6}\n' * 3 and done.stderr.startswith("bye\nbye\nbye\n")


def test_many_events_wait_for_their_printer(started: Started) -> None:
    count = 30000
    body = f"""(local $i i32) (loop $more
      (i32.store (i32.const 2048) (local.get $i))
      (drop (call $emit (i32.const 0) (i32.const 2048) (i32.const 8)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $i) (i32.const {count}))))"""
    path = started.module(text_of(body=body))
    assert started.run(PYTHON, path).returncode == 0
    done = started.run([str(WBPF)], path, "-o", "json")
    assert [json.loads(line)["a"] for line in done.stdout.splitlines()] == list(range(count))


def test_who_reads_the_events_goes_away(started: Started) -> None:
    body = "(loop $more (drop (call $emit (i32.const 0) (i32.const 2048) (i32.const 8))) (br $more))"
    path = started.module(text_of(body=body))
    assert started.run(PYTHON, path, "--duration", "100ms").returncode == 0
    for command in (PYTHON, [str(WBPF)]):
        process = subprocess.Popen(
            [*command, "run", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=started.environment
        )
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait(20) == 0
        process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_second_for_the_end(started: Started, number: int) -> None:
    path = started.module(text_of(body=PATIENT))
    assert started.run(PYTHON, path, "--duration", "100ms").returncode == 5
    for command in (PYTHON, [str(WBPF)]):
        process = subprocess.Popen(
            [*command, "run", path], stdout=subprocess.PIPE, text=True, env=started.environment
        )
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.communicate(timeout=20)[0] == "bye\n"
        assert process.returncode == 128 + number


def test_a_module_that_does_not_end_is_ended(started: Started) -> None:
    path = started.module(text_of(body=f"{UP} (loop (br 0))"))
    assert started.run(PYTHON, path, "--duration", "100ms").returncode == 0
    began = time.monotonic()
    assert started.without_python(path, "--duration", "200ms").returncode == 0
    assert 1.1 < time.monotonic() - began < 5
    for signals, least_s in (([signal.SIGTERM], 0.9), ([signal.SIGINT, signal.SIGINT], 0.0)):
        process = subprocess.Popen([str(WBPF), "run", path], stdout=subprocess.PIPE, env=started.environment)
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        began = time.monotonic()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.05)
        assert process.wait(20) == 128 + signals[-1]
        assert least_s < time.monotonic() - began < least_s + 3
        process.stdout.close()


def test_an_ignored_signal_stays_ignored(started: Started) -> None:
    path = started.module(text_of(body=PATIENT))
    assert started.run(PYTHON, path, "--duration", "100ms").returncode == 5
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", str(WBPF), "run", path, "--duration", "800ms"],
        env=started.environment,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 5
    process.stdout.close()


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


def test_logs_are_fit_for_a_terminal(started: Started) -> None:
    text = "10 µs → \x1b[31m\u202e\t€ \x80 語\n"
    data = "".join(f"\\{byte:02x}" for byte in text.encode() + b"\xff\xe2\x82")
    body = f"(drop (call $log (i32.const 1) (i32.const 8192) (i32.const {len(text.encode()) + 3})))"
    path = started.module(module_of(body, extra=f'(data (i32.const 8192) "{data}")').wasm)
    done = started.both(path)
    assert done.stderr == "warning: 10 µs → \\x1b[31m\\u202e\\t€ \\x80 語\\n\ufffd\ufffd\n"
    assert started.without_python(path).stderr == done.stderr


def test_standard_input(started: Started) -> None:
    extra = (
        """(import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))"""
    )
    body = """(i32.store (i32.const 40) (i32.const 4096)) (i32.store (i32.const 44) (i32.const 64))
      (drop (call $fd_read (i32.const 0) (i32.const 40) (i32.const 1) (i32.const 60)))
      (call $say (i32.load (i32.const 60)))"""
    path = started.module(module_of(body, extra=SAY, imports=extra).wasm)
    for command in (PYTHON, [str(WBPF)]):
        assert started.run(command, path, input="given\n").stdout == "given\n"


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


def test_a_full_disk_is_told(started: Started) -> None:
    body = "(drop (call $emit (i32.const 0) (i32.const 2048) (i32.const 8)))"
    path = started.module(text_of(body=body))
    assert started.run(PYTHON, path).returncode == 0
    for command in (PYTHON, [str(WBPF)]):
        with Path("/dev/full").open("w") as full:
            process = subprocess.run(
                [*command, "run", path],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                env=started.environment,
            )
        assert process.stderr.startswith("error: standard output can't be written: No space left on device")
        assert process.stderr.count("\n") == 2 and process.returncode == 9


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


def test_programs_are_attached_until_the_end(started: Started, elf: bytes) -> None:
    body = f"""{OPEN} {LOAD}
      (local.set $p (call $program_find (local.get $o) (i32.const 256) (i32.const 8)))
      (if (i32.le_s (call $program_attach (local.get $p) (i32.const 0) (i32.const 0) (i64.const 0))
        (i32.const 0)) (then (call $exit (i32.const -1))))
      (call $print (i32.const 1))
      (drop (call $wait (i32.const -1) (i32.const 64) (i32.const 4)))"""
    path = started.module(module_of(body, elf).wasm)
    assert started.run(PYTHON, path, "--duration", "300ms").returncode == 0
    process = subprocess.Popen([str(WBPF), "run", path], stdout=subprocess.PIPE, env=started.environment)
    assert process.stdout is not None and process.stdout.read(4) == b"\1\0\0\0"
    assert (Path("/proc") / str(process.pid) / "comm").read_text() == "wbpf\n"
    held = [str(one.readlink()) for one in (Path("/proc") / str(process.pid) / "fd").iterdir()]
    assert sum("bpf_link" in name for name in held) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.stdout.close()
