"""Runs in a guest: traces what it does itself with the modules kprobe and lsm, and prints the events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wbpf.wasm import Grants, Module
from wbpf.wasm.filters import Filter


def traced(name: str, work: Callable[[], None], **params: Any) -> list[dict[str, Any]]:
    """The events of a module while something is done."""
    events: list[dict[str, Any]] = []
    attached = threading.Event()
    guest = Module.open(f"/programs/{name}.wasm").start(
        params=params,
        grants=Grants.all(),
        filter=Filter(comm="python"),
        on_event=lambda event: events.append(event.fields),
        on_log=lambda _, text: attached.set() if text == "attached" else None,
    )
    try:
        while not attached.wait(0.05):
            assert not guest.has_ended, guest.wait()
        work()
        guest.wait(0)
    finally:
        guest.close()
    return events


def remove_files() -> None:
    """50 that are there, and one that is not."""
    for number in range(50):
        path = Path(f"/tmp/file-{number}")
        path.touch()
        path.unlink()
    try:
        Path("/tmp/nothing").unlink()
    except FileNotFoundError:
        print("missing: refused")


def remove_folders() -> None:
    """20, and one that must not be removed."""
    for number in range(20):
        folder = Path(f"/tmp/folder-{number}")
        folder.mkdir()
        folder.rmdir()
    kept = Path("/tmp/precious")
    kept.mkdir()
    try:
        kept.rmdir()
    except PermissionError:
        print("precious: refused")
    assert kept.is_dir()


def by_command(work: Callable[[], None]) -> tuple[str, list[dict[str, Any]]]:
    """The events of kprobe while something is done, by `wbpf run`; and which program that was."""
    words = ["wbpf", "run", "--allow", "all", "-v", "-o", "json", "/programs/kprobe.wasm"]
    environment = {**os.environ, "WBPF_CACHE_DIR": "/tmp/cache", "HOME": "/tmp"}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said == "info: attached\n", said + process.communicate()[1]
    program = str(Path(f"/proc/{process.pid}/exe").readlink())
    work()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert not err, err
    events = [json.loads(line) for line in out.splitlines()]
    return program, [one for one in events if one["pid"] == os.getpid()]


if __name__ == "__main__":
    for start in ("cold", "warm"):
        program, events = by_command(remove_files)
        print(start, json.dumps(events))
        print(f"{start}: by {program}")
    print("kprobe", json.dumps(traced("kprobe", remove_files)))
    print("lsm", json.dumps(traced("lsm", remove_folders, deny="precious")))
    Path("/tmp/precious").rmdir()
    print("precious: removed")
