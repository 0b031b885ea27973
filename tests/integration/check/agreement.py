"""What a check foresees for each program of an object, beside what loading and attaching it alone does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from wbpf.bpf import Object
from wbpf.bpf.btf import Btf
from wbpf.bpf.check import Kernel, check_object
from wbpf.errors import WbpfError


def outcome(elf: bytes, name: str) -> tuple[str, str | None, str]:
    """Whether a program loads and attaches, alone; and what was said."""
    with Object(elf, "many") as opened:
        for one in opened.programs.values():
            one.autoload = one.name == name
        program = opened.programs[name]
        try:
            opened.load()
        except WbpfError as error:
            return "no", None, str(error)
        if not program.is_self_attaching:
            return "yes", None, ""
        try:
            program.attach().detach()
        except WbpfError as error:
            return "yes", "no", str(error)
        return "yes", "yes", ""


def compare(elf: bytes) -> list[dict[str, Any]]:
    """A row a program: foreseen and what happened, with the words of both."""
    rows = []
    for one in check_object("many", elf, Kernel(Btf.of_kernel(), here=True)):
        loads, attaches, said = outcome(elf, one.program)
        foreseen = [one.loads.value, one.attaches.value if one.attaches else None]
        reasons = [f"{each.what}: {each.why}" for each in one.reasons]
        row = {"program": one.program, "foreseen": foreseen, "happened": [loads, attaches]}
        rows.append(row | {"reasons": reasons, "said": said})
    return rows


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1]).read_bytes())))
