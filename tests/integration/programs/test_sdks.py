"""One table of cases for the SDKs in C, Rust and Go: each control program does and says the same."""

from __future__ import annotations

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
}


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
    result = module.run(params={"start": 41}, grants=Grants.all(), on_event=keep)
    assert result.exit_status == 0
    assert found == CASES
