"""What programs of other people have in them, run in user space."""

from __future__ import annotations

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import BpfError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")


def test_functions_of_the_kernel_are_missed_where_they_are_called_alone(compiled: Compiled) -> None:
    with UserObject(compiled("foreign").read_bytes(), "foreign") as one:
        one.load()
        one.maps["settings"][bytes(4)] = (6).to_bytes(8, "little")
        context = bytes(16) + (40).to_bytes(8, "little") + bytes(40)
        results = {
            name: one.programs[name].test_run(b"", context).result
            for name in ("beside_one_that_calls_the_kernel", "asks_first", "reads_a_setting")
        }
    assert list(results.values()) == [41, 7, 6]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("calls_the_kernel", "there are no kernel functions in user space, at `"),
        ("writes_a_setting", "a value of a map can't be written, at `*value = 5;`"),
        ("updates_a_setting", "map 'settings' can't be changed by programs, at `"),
    ],
)
def test_the_others_are_refused(compiled: Compiled, name: str, why: str) -> None:
    with UserObject(compiled("foreign").read_bytes(), "foreign") as one:
        for program in one.programs.values():
            program.autoload = program.name == name
        with pytest.raises(BpfError) as refused:
            one.load()
    assert why in refused.value.why
