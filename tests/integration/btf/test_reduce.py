"""A reduced BTF of this kernel does for libbpf what the whole one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.btf.conftest import Compile
from tests.integration.btf.loading import load, patched
from wbpf.bpf.btf import Btf, RelocationKind, Resolver, reduce
from wbpf.bpf.object_file import ObjectFile


@pytest.fixture(scope="module")
def file(compiled: Compile) -> ObjectFile:
    return ObjectFile.parse(compiled("relocations").read_bytes())


@pytest.fixture(scope="module")
def small(file: ObjectFile, kernel: Btf) -> bytes:
    assert file.btf
    return reduce(kernel, [(file.btf, file.relocations())])


def test_it_is_small_and_resolves_alike(file: ObjectFile, kernel: Btf, small: bytes) -> None:
    assert file.btf
    assert len(small) < 40_000 < 1_000_000 < kernel.string_bytes
    reduced = Btf.parse(small)
    reduced.validate()
    whole, little = Resolver(kernel), Resolver(reduced)
    for one in file.relocations():
        expected, found = whole.resolve(file.btf, one), little.resolve(file.btf, one)
        if one.kind is not RelocationKind.TYPE_ID_TARGET:
            assert found.value == expected.value, expected
        assert (found.value is None) == (expected.value is None)


@pytest.mark.parametrize("name", ["fields", "enums", "guarded", "missing_field"])
def test_libbpf_loads_by_it_what_it_loads_by_the_whole(
    name: str, compiled: Compile, small: bytes, tmp_path: Path, can_load: None
) -> None:
    path = tmp_path / "small.btf"
    path.write_bytes(small)
    whole = load(compiled("relocations"), only=name)
    little = load(compiled("relocations"), path, only=name)
    assert little[0] is whole[0] is (name != "missing_field")
    assert patched(little[1]) == patched(whole[1]) != {}


def test_without_the_struct_libbpf_can_not_load(
    compiled: Compile, kernel: Btf, tmp_path: Path, can_load: None
) -> None:
    """So it is the reduced BTF that the test above loads by."""
    path = tmp_path / "empty.btf"
    path.write_bytes(reduce(kernel, []))
    assert not load(compiled("relocations"), path, only="fields")[0]
