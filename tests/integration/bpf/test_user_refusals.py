"""What is said of programs that user space refuses: what, why, and where in the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.bpf.conftest import HERE, Compiled
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import BpfError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
_GOLDEN = Path(__file__).parents[2] / "golden/refusals-user.txt"


def test_refusals(compiled: Compiled) -> None:
    lines = []
    path = compiled("refused")
    with UserObject.open(path) as one:
        names = list(one.programs)
    for name in names:
        with UserObject.open(path) as one:
            one.programs[name].autoload = True
            with pytest.raises(BpfError) as error:
                one.load()
        lines.append(str(error.value))
    assert "\n\n".join(lines) + "\n" == _GOLDEN.read_text()


def test_stopped_programs_name_the_line(compiled: Compiled) -> None:
    source = (HERE / "refused.bpf.c").read_text().splitlines()
    number = next(n for n, line in enumerate(source, 1) if "ctx[1024]" in line)
    with UserObject.open(compiled("refused"), checks=True) as one:
        one.programs["far"].autoload = True
        one.load()
        with pytest.raises(BpfError, match=rf"`return ctx\[1024\];` \(refused\.bpf\.c:{number}\)"):
            one.programs["far"].test_run(context=bytes(64))
