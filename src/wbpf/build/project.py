"""A project: a folder with `wbpf.toml`, eBPF programs in C, and a control program in C, Rust or Go."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from wbpf.errors import ConfigError
from wbpf.wasm.fields import from_json
from wbpf.wasm.manifest import FieldKind, Manifest
from wbpf.wasm.params import Choice, Param, ParamType, Value

Language: TypeAlias = Literal["c", "rust", "go"]

FILE = "wbpf.toml"
_MAIN: dict[Language, tuple[str, ...]] = {
    "c": ("main.c",),
    "rust": ("Cargo.toml",),
    "go": ("go.mod", "main.go"),
}


@dataclass(frozen=True)
class ParamSpec:
    """`[params.NAME]`; see `wbpf.wasm.params.Param`. Choices: names, or names with their programs."""

    type: ParamType
    default: Value | None = None
    help: str = ""
    variable: str | None = None
    programs: tuple[str, ...] = ()
    choices: tuple[str, ...] | dict[str, tuple[str, ...]] = ()


@dataclass(frozen=True)
class CapabilitiesSpec:
    """`[capabilities]`; program types and attach patterns, if not given, are those of the objects."""

    programs: tuple[str, ...] | None = None
    attach: tuple[str, ...] | None = None
    fs: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    memory_mib: int = 64
    deadline_ms: int | None = None


@dataclass(frozen=True)
class FieldSpec:
    """`[events.NAME.fields.FIELD]`: how it is shown; what is not given is guessed from its type."""

    kind: FieldKind | None = None
    unit: str = ""
    help: str = ""
    name: str | None = None
    hide: bool = False


@dataclass(frozen=True)
class EventSpec:
    """`[events.NAME]`: a structure of the eBPF program; its own name by default."""

    struct: str | None = None
    help: str = ""
    fields: dict[str, FieldSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class ProjectSpec:
    """`wbpf.toml`."""

    name: str
    version: str = "0.1.0"
    description: str = ""
    language: Language | None = None
    objects: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    params: dict[str, ParamSpec] = field(default_factory=dict)
    capabilities: CapabilitiesSpec = field(default_factory=CapabilitiesSpec)
    events: dict[str, EventSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A project's folder, what it says, and the files that it is made of.

    Args:
        objects: the sources of its eBPF objects, by the objects' names.
    """

    folder: Path
    spec: ProjectSpec
    language: Language
    objects: dict[str, Path]

    @classmethod
    def load(cls, folder: Path) -> Project:
        """Read a project.

        Raises:
            ConfigError: something in wbpf.toml can't be used; the text names the key.
        """
        file = folder / FILE
        try:
            value = tomllib.loads(file.read_text())
        except OSError as error:
            what = f"{folder} is no project"
            raise ConfigError(what, f"{file}: {error.strerror}", "make one: wbpf new NAME") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} can't be read", str(error)) from error
        try:
            spec = from_json(ProjectSpec, value, known_only=True)
            Manifest(spec.name, params=params_of(spec)).validate()
        except ValueError as error:
            text = str(error)
            for at, name in enumerate(value.get("params", {}) if isinstance(value, dict) else {}):
                text = text.replace(f"params[{at}]", f"params.{name}")
            raise ConfigError(f"{file}: {text.partition(': ')[0]}", text.partition(": ")[2]) from None
        return cls(folder, spec, _language(folder, spec), _objects(folder, spec))


def params_of(spec: ProjectSpec) -> tuple[Param, ...]:
    """The parameters as the manifest has them."""
    return tuple(
        Param(
            name,
            param.type,
            param.default,
            param.help,
            param.variable,
            param.programs,
            tuple(
                Choice(each, param.choices[each] if isinstance(param.choices, dict) else ())
                for each in param.choices
            ),
        )
        for name, param in spec.params.items()
    )


def _language(folder: Path, spec: ProjectSpec) -> Language:
    found = [language for language, files in _MAIN.items() if all((folder / name).exists() for name in files)]
    if spec.language:
        return spec.language
    if len(found) != 1:
        files = ", ".join(" and ".join(names) for names in _MAIN.values())
        why = f"one of these is wanted: {files}" if not found else f"it has sources of {' and '.join(found)}"
        raise ConfigError(f"{folder} has no control program", why, f'say in {FILE}: language = "c"')
    return found[0]


def _objects(folder: Path, spec: ProjectSpec) -> dict[str, Path]:
    files = [folder / name for name in spec.objects] or sorted(folder.glob("*.bpf.c"))
    if not files:
        raise ConfigError(f"{folder} has no eBPF program", "no NAME.bpf.c in it")
    missing = next((file for file in files if not file.is_file()), None)
    if missing:
        raise ConfigError(f"{folder / FILE}: objects", f"there is no {missing}")
    return {file.name.partition(".")[0]: file for file in files}
