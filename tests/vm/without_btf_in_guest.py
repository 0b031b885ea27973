"""Hides the kernel's BTF and traces what it does itself by each of the ways around it.

In a guest, or in a mount namespace of its own: FOLDER has `programs/*.wasm` and the `archive`.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, ClassVar

FOLDER = Path(sys.argv[1])
RUN = (sys.executable, "-m", "wbpf.cli", "run", "-o", "json", "--backend", "kernel", "--allow", "all")


class Archive(http.server.SimpleHTTPRequestHandler):
    """Serves the archive, and says what it was asked for."""

    asked: ClassVar[list[str]] = []

    def log_message(self, format: str, *arguments: Any) -> None:
        self.asked.append(self.path)


def traced(module: str, *options: str) -> dict[str, Any]:
    """What `wbpf run` makes of three commands, or how it ends."""
    command = [*RUN, *options, str(FOLDER / f"programs/{module}.wasm")]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout
            timer = threading.Timer(100, process.kill)
            timer.start()
            while process.poll() is None and not select.select([process.stdout], [], [], 0.2)[0]:
                subprocess.run(["echo", "until it is attached"], stdout=subprocess.DEVNULL, check=True)
            for _ in range(3):
                subprocess.run(["true"], check=True)
            process.send_signal(signal.SIGINT)
            events = [json.loads(line) for line in process.stdout]
        timer.cancel()
        errors.seek(0)
        return {"events": events, "status": process.returncode, "said": errors.read()}


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
        "fetched": traced("plain", "--btf", address),
        "asked": list(Archive.asked),
    }
    print(json.dumps(found))


main()
