"""Run the demo and put what it prints into the README, between its transcript markers.

make transcript
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- transcript: begin -->\n", "<!-- transcript: end -->"
WIDTH = "112"


def main() -> int:
    done = subprocess.run(
        [Path(sys.executable).parent / "wbpf", "demo"],
        env={**os.environ, "COLUMNS": WIDTH},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(f"the demo ended with status {done.returncode}: the README stays as it is", file=sys.stderr)
        return 1
    lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
    # The demo's folder is a new one each time.
    text = re.sub(r"/tmp/wbpf-demo-\w+", "/tmp/wbpf-demo", "\n".join(lines))
    page = ROOT / "README.md"
    head, rest = page.read_text().split(BEGIN)
    page.write_text(f"{head}{BEGIN}```console\n$ wbpf demo\n{text}\n```\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
