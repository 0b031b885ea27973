"""Makes system calls in threads and checks what they answer; started by the tests as a process of its own.

Commands on standard input: `open NAME N` opens N files NAME0, NAME1… that are not there, `exec NAME N` fails
to execute them, `look` does nothing. Each is answered by how many rounds the threads made, and how many were
wrong.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

THREADS = 3


class Calls:
    """What the threads do."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.rounds = [0] * THREADS
        self.wrong: list[str] = []

    def work(self, number: int) -> None:
        """All the time."""
        while True:
            try:
                if not self._one_round():
                    self.wrong.append("another answer")
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is wrong
                self.wrong.append(repr(error))
            self.rounds[number] += 1

    def _one_round(self) -> bool:
        file = os.open(f"{self.folder}/data", os.O_RDONLY)
        right = os.read(file, 9) == b"some data"
        os.close(file)
        with suppress(FileNotFoundError):
            os.open(f"{self.folder}/nothing", os.O_RDONLY)
            right = False
        back, to = os.pipe()
        right = right and os.write(to, b"x") == 1 and os.read(back, 2) == b"x"
        os.close(back)
        os.close(to)
        begun = time.monotonic()
        time.sleep(0.002)
        return right and time.monotonic() - begun >= 0.002


def main(folder: str) -> None:
    """Answer commands."""
    calls = Calls(folder)
    Path(folder, "data").write_bytes(b"some data")
    for number in range(THREADS):
        threading.Thread(target=calls.work, args=(number,), daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        command, name, count = f"{line} - 0".split()[:3]
        for number in range(int(count)):
            with suppress(FileNotFoundError):
                if command == "open":
                    os.open(f"{folder}/{name}{number}", os.O_RDONLY)
                else:
                    os.execv(f"{folder}/{name}{number}", [name, str(number)])
        print(sum(calls.rounds), len(calls.wrong), *calls.wrong[:1], flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
