"""CO-RE relocations: what wBPF says they become, beside what libbpf makes of them on this kernel."""

from __future__ import annotations

import pytest

from tests.integration.btf.conftest import Compile
from tests.integration.btf.loading import load, patched
from wbpf.bpf.btf import Btf, RelocationKind
from wbpf.bpf.btf.core import Resolved, Resolver
from wbpf.bpf.object_file import ObjectFile
from wbpf.bpf.reach import reached

GOOD = ("fields", "types", "enums", "guarded")
BAD = ("missing_field", "missing_type", "missing_value")


@pytest.fixture(scope="module")
def file(compiled: Compile) -> ObjectFile:
    return ObjectFile.parse(compiled("relocations").read_bytes())


@pytest.fixture(scope="module")
def resolved(file: ObjectFile, kernel: Btf) -> dict[tuple[str, int], Resolved]:
    assert file.btf
    resolver = Resolver(kernel)
    return {(one.section, one.offset): resolver.resolve(file.btf, one) for one in file.relocations()}


def of(file: ObjectFile, resolved: dict[tuple[str, int], Resolved], name: str) -> list[Resolved]:
    """A program's relocations, as libbpf counts them."""
    program = next(one for one in file.programs if one.name == name)
    inside = range(program.offset, program.offset + program.bytes)
    return [each for (section, at), each in resolved.items() if section == program.section and at in inside]


def test_every_kind_is_there(resolved: dict[tuple[str, int], Resolved]) -> None:
    assert {one.relocation.kind for one in resolved.values()} == set(RelocationKind)


@pytest.mark.parametrize("name", GOOD + BAD)
def test_libbpf_says_the_same(
    name: str, compiled: Compile, file: ObjectFile, resolved: dict[tuple[str, int], Resolved], can_load: None
) -> None:
    loaded, log = load(compiled("relocations"), only=name)
    theirs = patched(log)
    assert {program for program, _ in theirs} == {name}, log
    ours = of(file, resolved, name)
    # libbpf counts the relocations of a section.
    section = [one for one in resolved.values() if one.relocation.section == ours[0].relocation.section]
    numbers = {id(one): number for number, one in enumerate(section)}
    assert {(name, numbers[id(one)]): one.value for one in ours} == theirs
    assert loaded is (name in GOOD)
    program = next(one for one in file.programs if one.name == name)
    assert bool(reached(file, program, resolved).failed) is (name in BAD)


def test_what_is_missing_is_explained(file: ObjectFile, resolved: dict[tuple[str, int], Resolved]) -> None:
    why = [
        next(one.why for one in of(file, resolved, name) if one.value is None)
        for name in ("missing_field", "missing_type", "missing_value")
    ]
    assert why == [
        "struct task_struct has no field 'tgidd'; did you mean 'tgid'?",
        "the kernel has no struct tsk_struct; did you mean 'task_struct'?",
        "enum pid_type has no 'PIDTYPE_NONE_SUCH'; did you mean 'PIDTYPE_SID'?",
    ]
    other = next(one for one in resolved.values() if "of another kind" in one.why)
    assert (
        other.why
        == "'comm' of struct task_struct is of another kind: array (without a name), not ptr (without a name)"
    )


def test_code_behind_what_the_kernel_lacks_is_not_reached(
    file: ObjectFile, resolved: dict[tuple[str, int], Resolved]
) -> None:
    guarded = next(one for one in file.programs if one.name == "guarded")
    assert any(one.value is None for one in of(file, resolved, "guarded"))
    assert not reached(file, guarded, resolved).failed
    assert set(reached(file, guarded, resolved).helpers) == {35, 113}
