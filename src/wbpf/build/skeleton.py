"""What a control program's skeleton is generated from: programs, maps, variables and structures."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from wbpf.bpf.btf import Btf
from wbpf.bpf.btf import types as t
from wbpf.bpf.kinds import MapType, name_of
from wbpf.build.needs import object_file
from wbpf.build.shapes import Record, Shape, Shapes
from wbpf.errors import BuildError

_SECTIONS = (".rodata", ".data", ".bss")
_EVENTS = ".wbpf.events"


@dataclass(frozen=True)
class SkeletonMap:
    """A map. Args: key, value: None where its definition gives no type."""

    name: str
    type: str
    key: Shape | None
    value: Shape | None

    @property
    def per_cpu(self) -> bool:
        """Whether each CPU has a value of its own."""
        return self.type.startswith("percpu") or self.type == "lru_percpu_hash"


@dataclass(frozen=True)
class SkeletonVariable:
    """A global variable. Args: constant: set before loading only."""

    name: str
    shape: Shape
    constant: bool


@dataclass(frozen=True)
class Skeleton:
    """An object as its control program sees it.

    Args:
        name: an identifier.
        object: the object's own name.
        attached: those that are attached with the others: their sections begin with no `?`.
        records: structures, each behind those that it contains.
    """

    name: str
    object: str
    programs: tuple[str, ...]
    attached: tuple[str, ...]
    maps: tuple[SkeletonMap, ...]
    variables: tuple[SkeletonVariable, ...]
    records: tuple[Record, ...]

    @classmethod
    def of(cls, name: str, elf: bytes) -> Skeleton:
        """Read an object.

        Raises:
            FormatError: it is none, or has no BTF.
            BuildError: a structure of it has no layout that eBPF and WebAssembly share.
        """
        file = object_file(elf)
        btf = file.btf
        assert btf is not None
        shapes = Shapes(btf)
        kinds = {each.name: name_of(each.type, MapType).lower() for each in file.maps}
        maps = []
        for variable in _variables(btf, ".maps"):
            key, value = (_pointed(btf, variable, name) for name in ("key", "value"))
            maps.append(
                SkeletonMap(
                    variable.name,
                    kinds[variable.name],
                    None if key is None else shapes.of(key, f"{variable.name}_key"),
                    None if value is None else shapes.of(value, f"{variable.name}_value"),
                )
            )
        variables = tuple(
            SkeletonVariable(each.name, shapes.variable(each), section == ".rodata")
            for section in _SECTIONS
            for each in _variables(btf, section)
            if each.name.isidentifier() and not each.name.startswith("wbpf_")
        )
        for each in _variables(btf, _EVENTS):
            pointer = btf.peel(each.type)
            if isinstance(pointer, t.Pointer):
                shapes.of(pointer.type)
        programs = tuple(each.name for each in file.programs)
        attached = tuple(each.name for each in file.programs if not each.section.startswith("?"))
        identifier = re.sub(r"\W", "_", name)
        records = tuple(record for record in shapes.records.values() if not record.name.startswith("wbpf_"))
        return cls(identifier, name, programs, attached, tuple(maps), variables, records)


def _variables(btf: Btf, section: str) -> list[t.Variable]:
    """The variables of a section, in the order of their places."""
    found = btf.find(section, t.Kind.DATASEC)
    placed = sorted(found.variables, key=lambda row: row[1]) if isinstance(found, t.Section) else []
    return [variable for row in placed if isinstance(variable := btf[row[0]], t.Variable)]


def _pointed(btf: Btf, variable: t.Variable, name: str) -> int | None:
    """What `__type(name, …)` of a map says."""
    body = btf.peel(variable.type)
    members = body.members if isinstance(body, t.Composite) else ()
    pointers = [btf.peel(member.type) for member in members if member.name == name]
    return next((pointer.type for pointer in pointers if isinstance(pointer, t.Pointer)), None)


def generate(name: str, elf: bytes, language: str) -> str:
    """The skeleton's source for a control program in `c`, `rust` or `go`."""
    from wbpf.build.skeleton_c import c_skeleton
    from wbpf.build.skeleton_go import go_skeleton
    from wbpf.build.skeleton_rust import rust_skeleton

    generators: dict[str, Callable[[Skeleton], str]] = {
        "c": c_skeleton,
        "rust": rust_skeleton,
        "go": go_skeleton,
    }
    if language not in generators:
        raise BuildError(f"there is no skeleton for {language!r}", f"known are {', '.join(generators)}")
    return generators[language](Skeleton.of(name, elf))
