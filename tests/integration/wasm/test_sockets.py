"""Sockets of guests beside rings, and from within the function that gets samples."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.integration.wasm.guests import Ran, module_of
from tests.integration.wasm.test_wasm_bpf import SAMPLE, load, until
from wbpf.wasm import Grants
from wbpf.wasm.manifest import Capabilities, Manifest
from wbpf.wasm.module import Module
from wbpf.wasm.sections import with_sections

Call = Callable[[int], None]
CONNECT = "(call $socket_connect (i32.const 512) (i32.const {}) (i32.const 1000))"
SEND = "(call $socket_send (local.get $s) (i32.const 512) (i32.const 3) (i32.const 0))"


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.settimeout(20)
        yield one


def granted(module: Module) -> Module:
    """With a manifest that asks for this host by UDP."""
    asked = Capabilities(programs=("raw_tracepoint",), attach=("raw_tp",), network=("udp:127.0.0.1:*",))
    manifest = Manifest("guest", capabilities=asked).to_json()
    return Module(with_sections(module.wasm, {"wbpf.manifest": manifest}), "guest")


def test_a_socket_that_always_has_something_starves_no_ring(
    elf: bytes, call: Call, server: socket.socket
) -> None:
    address = f"udp:127.0.0.1:{server.getsockname()[1]}"
    body = f"""(local $o i32) (local $r i32) (local $s i32) (local $n i32) (local $both i32)
      (local.set $o (call $object_open (i32.const 0) (i32.const 0)))
      (drop (call $object_load (local.get $o)))
      (local.set $r (call $map_find (local.get $o) (i32.const 272) (i32.const 6)))
      (local.set $r (call $ring_open (local.get $r) (i32.const 0)))
      (local.set $s {CONNECT.format(len(address))})
      (drop (call $socket_watch (local.get $s) (i32.const 1)))
      (drop {SEND})
      (drop (call $wait (i32.const 5000) (i32.const 600) (i32.const 64)))
      (drop (call $program_attach (call $program_find (local.get $o) (i32.const 256) (i32.const 8))
        (i32.const 0) (i32.const 0) (i64.const 0)))
      (call $print (i32.const 1000))
      (loop
        (if (i32.eq (call $wait (i32.const 5000) (i32.const 600) (i32.const 64)) (i32.const 2))
          (then (local.set $both (i32.add (local.get $both) (i32.const 1)))
            (local.set $n (i32.add (local.get $n)
              (call $ring_read (local.get $r) (i32.const 4096) (i32.const 65536))))))
        (br_if 0 (i32.lt_u (local.get $n) (i32.const 2400))))
      (call $print (local.get $n))"""
    data = f'(data (i32.const 512) "{address}")'

    def answer() -> None:
        _, sender = server.recvfrom(100)
        server.sendto(b"it stays there", sender)

    thread = threading.Thread(target=answer)
    thread.start()
    ran = Ran(granted(module_of(body, elf, extra=data)), grants=Grants.all())
    ran.until(1)
    call(100)
    assert ran.end().exit_status == 0
    assert ran.printed() == [1000, 100 * 24]  # a frame and two words each
    thread.join(20)


def test_sockets_from_within_a_sample(elf: bytes, call: Call, server: socket.socket) -> None:
    """Connecting, sending, waiting in vain and closing is no re-entry."""
    address = f"udp:127.0.0.1:{server.getsockname()[1]}"
    sample = f"""(func $sample (param i32 i32 i32) (result i32) (local $s i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (local.set $s {CONNECT.format(len(address))})
      (call $print {SEND})
      (drop (call $socket_watch (local.get $s) (i32.const 1)))
      (drop (call $socket_receive (local.get $s) (i32.const 2048) (i32.const 8) (i32.const 5)))
      (drop (call $wait (i32.const 0) (i32.const 2048) (i32.const 64)))
      (drop (call $socket_close (local.get $s)))
      (i32.const 0)) (data (i32.const 512) "{address}")"""
    ran = Ran(
        granted(module_of(load(elf) + until(5), extra=SAMPLE + sample, compat=elf)), grants=Grants.all()
    )
    ran.until(1)
    call(5)
    assert ran.end().exit_status == 0
    assert ran.printed() == [1000] + [3] * 5
    assert [server.recv(100) for _ in range(5)] == [b"udp"] * 5
