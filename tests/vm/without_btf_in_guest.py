"""Hides the kernel's BTF and traces what it does itself by each of the ways around it.

In a guest, or in a mount namespace of its own: FOLDER has `programs/*.wasm` and the `archive`.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from wbpf.wasm import Grants, Module
from wbpf.wasm.limits import Limits

FOLDER = Path(sys.argv[1])
#: An emulated machine takes many times as long for all that a module does.
PATIENT = Limits(deadline_ms=120_000)


class Archive(http.server.SimpleHTTPRequestHandler):
    """Serves the archive, and says what it was asked for."""

    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *arguments: Any) -> None:
        self.asked.append(self.path)


def traced(module: str, btf: str | None = None) -> dict[str, Any]:
    """What a module tells of three commands, or how it ends."""
    events: list[dict[str, Any]] = []
    guest = Module.open(FOLDER / f"programs/{module}.wasm").start(
        grants=Grants.all(), limits=PATIENT, btf=btf, on_event=lambda event: events.append(event.fields)
    )
    with guest:
        while not events and not guest.has_ended:
            subprocess.run(["echo", "until it is attached"], stdout=subprocess.DEVNULL, check=True)
        for _ in range(3):
            subprocess.run(["true"], check=True)
        result = guest.wait(0)
    return {"events": events, "status": result.exit_status, "said": str(result.error)}


def main() -> None:
    subprocess.run(["mount", "-t", "tmpfs", "none", "/sys/kernel/btf"], check=True)
    assert not Path("/sys/kernel/btf/vmlinux").exists()
    handler = functools.partial(Archive, directory=str(FOLDER / "archive"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    found = {
        "own": os.getpid(),
        "nothing": traced("plain"),
        "embedded": traced("embedded"),
        "asked_before": list(Archive.asked),
        "fetched": traced("plain", address),
        "asked": list(Archive.asked),
    }
    print(json.dumps(found))


main()
