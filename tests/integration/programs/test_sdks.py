"""One table of cases for the SDKs in C, Rust and Go: each control program does and says the same."""

from __future__ import annotations

import importlib.util
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.integration.languages import NAMES, demand
from wbpf.build import build
from wbpf.wasm import Grants, Module

HERE = Path(__file__).parent / "sdks"

#: What a control program emits, one number a case: see sdks/cases.bpf.c and the control programs.
CASES = {
    "constant": 41,  # the parameter, which was put into .rodata, read back
    "set_before_load": 7,  # a variable of .data, set before loading, as the program saw it
    "set_after_load": 1 << 40,  # the same after loading
    "counted": 3,  # what the program added in .bss, by test runs
    "lookup": 300,  # a value of a hash, written by the program
    "missing": 1,  # a key that is not there is "not found"
    "updated": 12345,  # written and read back
    "keys": 6,  # the sum of the keys 1, 2, 3
    "deleted": 1,  # not found after it was deleted
    "per_cpu": 3,  # the sum over CPUs of a per-CPU value
    "record_bytes": 40,  # of the structure with padding, pointers and arrays
    "record_pointer": 0xFFFF_8880_0000_1234,  # 64 bits of a pointer
    "record_after_padding": 0x1122_3344,
    "record_text": 3,  # the length of "abc" in a char array
    "records": 3,  # in the ring
    "parameter": 1_500_000,  # 1.5 ms in ns
    "unload_is_refused": 1,  # a constant can't be set after loading
    "in_place": 23,  # records where the kernel wrote them, in a ring with room for three
    "in_place_numbers": 2 * sum(range(23)),  # the first and last words of them, each its number
    "in_place_left": 0,  # there are no more, and what was given up is passed over
    "datagram_sent": 8,
    "nothing_came": 1,  # in time
    "path_sent": 4,
    "stream_is_told": 1,  # by waiting, as it is watched
    "stream_received": 6,
    "stream_ended": 1,  # the server closed it
    "not_granted": 1,
}


class Servers:
    """One of each kind; what they got."""

    def __init__(self, folder: Path) -> None:
        self.got: dict[str, bytes] = {}
        self._datagrams = socket.socket(type=socket.SOCK_DGRAM)
        self._stream, self._path = socket.socket(), socket.socket(socket.AF_UNIX)
        self._datagrams.bind(("127.0.0.1", 0))
        self._stream.bind(("127.0.0.1", 0))
        self._path.bind(f"{folder}/x.sock")
        for one in (self._datagrams, self._stream, self._path):
            one.settimeout(30)
        self._stream.listen()
        self._path.listen()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()
        self.params = {
            "datagrams": f"udp:127.0.0.1:{self._datagrams.getsockname()[1]}",
            "stream": f"tcp:127.0.0.1:{self._stream.getsockname()[1]}",
            "path": f"unix:{folder}/x.sock",
        }

    def _answer(self) -> None:
        connection, _ = self._stream.accept()
        with connection:
            self.got["stream"] = connection.recv(100)
            connection.sendall(b"answer")

    def close(self) -> None:
        """Take what has come."""
        self._thread.join(30)
        self.got["datagrams"] = self._datagrams.recv(100)
        with self._path.accept()[0] as connection:
            self.got["path"] = connection.recv(100)
        for one in (self._datagrams, self._stream, self._path):
            one.close()


@pytest.mark.parametrize("name", NAMES)
def test_cases(capable: None, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    language = demand(name, monkeypatch)
    for folder in (HERE / "common", HERE / language):
        for source in (path for path in folder.rglob("*") if path.is_file()):
            target = tmp_path / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    found: dict[str, Any] = {}

    def keep(event: Any) -> None:
        assert event.fields["name"] not in found, "each case once"
        found[event.fields["name"]] = event.fields["value"]

    module = Module.open(build(tmp_path).path)
    both = language == "c" and importlib.util.find_spec("llvmlite") is not None
    for backend in ("kernel", "user") if both else ("kernel",):
        found.clear()
        folder = tmp_path / backend
        folder.mkdir()
        servers = Servers(folder)
        given = {"start": 41, **servers.params}
        result = module.run(params=given, grants=Grants.all(), on_event=keep, backend=backend)
        assert result.exit_status == 0, result.error
        assert found == CASES
        servers.close()
        assert servers.got == {"stream": b"ping", "datagrams": b"datagram", "path": b"path"}
