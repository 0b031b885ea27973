"""What `wbpf run` without Python prints, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.wasm.conftest import COMMAND as WBPF
from tests.integration.wasm.guests import module_of
from tests.integration.wasm.launched import LOAD, OPEN, PATIENT, PYTHON, SAY, UP, Started, text_of
from wbpf.wasm.manifest import Capabilities, Manifest
from wbpf.wasm.sections import with_sections


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
    for signals, least_s in (([signal.SIGTERM], 0.9), ([signal.SIGINT, signal.SIGINT], 0.3)):
        process = subprocess.Popen([str(WBPF), "run", path], stdout=subprocess.PIPE, env=started.environment)
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        began = time.monotonic()
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        assert process.wait(20) == 128 + signals[-1]
        assert least_s < time.monotonic() - began < least_s + 3
        process.stdout.close()


def test_the_two_signals_of_timeout_are_one(started: Started) -> None:
    path = started.module(text_of(body=PATIENT))
    assert started.run(PYTHON, path, "--duration", "100ms").returncode == 5
    for command in (PYTHON, [str(WBPF)]):
        words = ["timeout", "--preserve-status", "2", *command, "run", path]
        done = subprocess.run(
            words, stdout=subprocess.PIPE, text=True, env=started.environment, check=False, timeout=20
        )
        assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "up\nbye\n")


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
