"""What a module says of itself: its parameters, what it asks for, what its eBPF objects need, what it emits.

The manifest is JSON in the module's section `wbpf.manifest`, made by `wbpf build`. Whoever reads one trusts
nothing in it: it is checked against these classes, field by field. Fields that they don't have are passed
over, so that a newer `wbpf build` can say more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from wbpf.errors import ConfigError, FormatError
from wbpf.wasm.fields import from_json, to_json
from wbpf.wasm.params import Choice, Param
from wbpf.wasm.sections import MANIFEST

#: The version of the guest ABI and of the manifest.
ABI = 1
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_PARAM_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")

#: How a field of an event is shown. `uint_be`: in network order; `time`: of CLOCK_MONOTONIC, in ns;
#: `duration`: in ns; `ip6`: IPv4 too, as ::ffff:a.b.c.d; `array` and `log2_histogram`: of unsigned numbers.
FieldKind: TypeAlias = Literal[
    "uint", "int", "bool", "float", "char[]", "bytes", "uint_be", "ip4", "ip6", "mac",
    "enum", "time", "duration", "array", "log2_histogram",
]  # fmt: skip


@dataclass(frozen=True)
class Capabilities:
    """What a module asks the user for.

    Args:
        programs: types of eBPF programs, as in `ProgramNeeds.type`.
        attach: patterns of what they attach to, `tp/syscalls/*`.
        fs: `PATH:ro` or `PATH:rw`.
        network: patterns of what it connects to, `tcp:HOST:PORT`, with parameters as `{NAME}`.
        env: names of environment variables.
        memory_mib: of linear memory.
        deadline_ms: of computing without waiting for anything; None: 10,000.
    """

    programs: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    fs: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    memory_mib: int = 64
    deadline_ms: int | None = None


@dataclass(frozen=True)
class Kernel:
    """The least kernel known for something, and what of it needs that kernel.

    Args:
        version: `5.8`.
        because: `map type RINGBUF`.
    """

    version: str
    because: str


@dataclass(frozen=True)
class ProgramNeeds:
    """An eBPF program, and what it needs of the kernel.

    Args:
        name: of its function.
        section: of the object file.
        type: `tracepoint`, `kprobe`, `xdp`, …: libbpf's names of `enum bpf_prog_type`, in lower case.
        helpers: names of the helpers it calls: `map_lookup_elem`.
        kfuncs: names of the kernel functions it calls.
        target: what its section attaches it to, as an attach target; None: one has to be given.
        btf: `struct task_struct.tgid`: types and fields of the kernel that its relocations name.
        kernel: the least kernel known.
    """

    name: str
    section: str
    type: str
    helpers: tuple[str, ...] = ()
    kfuncs: tuple[str, ...] = ()
    target: str | None = None
    btf: tuple[str, ...] = ()
    kernel: Kernel | None = None


@dataclass(frozen=True)
class MapNeeds:
    """A map of an eBPF object; sizes and flags are those of its definition."""

    name: str
    type: str
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int = 0
    kernel: Kernel | None = None


@dataclass(frozen=True)
class ObjectNeeds:
    """An eBPF object of the module, in section `wbpf.object.NAME`."""

    name: str
    programs: tuple[ProgramNeeds, ...] = ()
    maps: tuple[MapNeeds, ...] = ()


@dataclass(frozen=True)
class Field:
    """A field of an event.

    Args:
        bytes: the size of all of it.
        element_bytes: of an array's or histogram's elements.
        signed: whether an enum's numbers are.
        names: of an enum's values.
        unit: shown with the value.
    """

    name: str
    offset: int
    bytes: int
    kind: FieldKind
    unit: str = ""
    help: str = ""
    element_bytes: int = 0
    signed: bool = False
    names: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class EventType:
    """A kind of event that the module emits; the guest names it by its index.

    Args:
        bytes: the size of its structure.
    """

    name: str
    bytes: int
    fields: tuple[Field, ...] = ()
    help: str = ""


@dataclass(frozen=True)
class Manifest:
    """A module's manifest."""

    name: str
    version: str = "0.0.0"
    description: str = ""
    abi: int = ABI
    params: tuple[Param, ...] = ()
    capabilities: Capabilities = field(default_factory=Capabilities)
    objects: tuple[ObjectNeeds, ...] = ()
    events: tuple[EventType, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            FormatError: it is none, or of another ABI; the text names the field.
        """
        try:
            value = json.loads(content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise _wrong("it is not JSON", error) from None
        if isinstance(value, dict) and isinstance(value.get("abi"), int) and value["abi"] != ABI:
            raise FormatError(
                f"the module is built for ABI {value['abi']}, this is {ABI}",
                "",
                "use a newer wBPF" if value["abi"] > ABI else "build the module again",
            )
        try:
            manifest = from_json(cls, value)
            manifest.validate()
        except ValueError as error:
            raise _wrong("it is not what it should be", error) from None
        return manifest

    @classmethod
    def of(cls, sections: Mapping[str, bytes]) -> Manifest | None:
        """The manifest among a module's custom sections; None if there is none."""
        return cls.parse(sections[MANIFEST]) if MANIFEST in sections else None

    def to_json(self) -> bytes:
        """The manifest as it is kept in a module; defaults are left out."""
        return json.dumps(
            {"abi": self.abi} | to_json(self), ensure_ascii=False, separators=(",", ":")
        ).encode()

    def param(self, name: str) -> Param | None:
        """The parameter of that name."""
        return next((param for param in self.params if param.name == name), None)

    def validate(self) -> None:
        """Check what types alone don't say.

        Raises:
            ValueError: it names the field.
        """
        _demand(
            bool(_NAME.fullmatch(self.name)), "name", "must be lower-case letters, digits, '.', '_' and '-'"
        )
        for at, param in enumerate(self.params):
            _validate_param(param, f"params[{at}]")
        _unique([param.name for param in self.params], "params")
        _unique([needs.name for needs in self.objects], "objects")
        _unique([event.name for event in self.events], "events")
        for at, event in enumerate(self.events):
            _unique([each.name for each in event.fields], f"events[{at}].fields")
            for index, each in enumerate(event.fields):
                _validate_field(each, event, f"events[{at}].fields[{index}]")
        asked = self.capabilities
        _demand(asked.memory_mib > 0, "capabilities.memory_mib", "must be above 0")
        _demand(
            asked.deadline_ms is None or asked.deadline_ms > 0, "capabilities.deadline_ms", "must be above 0"
        )
        for at, wish in enumerate(asked.fs):
            _demand(
                wish.endswith((":ro", ":rw")) and wish[0] == "/",
                f"capabilities.fs[{at}]",
                "must be /PATH:ro or /PATH:rw",
            )
        for at, pattern in enumerate(asked.network):
            _validate_pattern(pattern, [param.name for param in self.params], f"capabilities.network[{at}]")


def _validate_pattern(pattern: str, params: list[str], where: str) -> None:
    from wbpf.wasm.network import validate_pattern

    try:
        validate_pattern(pattern, params)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _validate_param(param: Param, where: str) -> None:
    _demand(
        bool(_PARAM_NAME.fullmatch(param.name)), f"{where}.name", "must be lower-case letters, digits and '-'"
    )
    _demand(
        (param.type == "enum") == bool(param.choices),
        f"{where}.choices",
        "must be there for an enum, and only there",
    )
    _unique([choice.name for choice in param.choices], f"{where}.choices")
    if param.default is None:
        return
    text = param.default if isinstance(param.default, str) else param.text(param.default)
    try:
        parsed = param.parse(text)
    except ConfigError as error:
        raise ValueError(f"{where}.default: {error.why}") from None
    kept_as_text = param.type in ("string", "duration", "enum")
    same = isinstance(param.default, str) if kept_as_text else type(parsed) is type(param.default)
    _demand(same, f"{where}.default", f"must be a {'text' if kept_as_text else param.type}")


def _validate_field(each: Field, event: EventType, where: str) -> None:
    inside = each.offset >= 0 and each.bytes > 0 and each.offset + each.bytes <= event.bytes
    _demand(inside, where, "must lie in the event")
    sizes = _SIZES.get(each.kind)
    _demand(sizes is None or each.bytes in sizes, f"{where}.bytes", f"can't be {each.bytes} for {each.kind}")
    if each.kind in ("array", "log2_histogram"):
        whole = each.element_bytes in (1, 2, 4, 8) and each.bytes % each.element_bytes == 0
        _demand(whole, f"{where}.element_bytes", "must be 1, 2, 4 or 8, and divide the field")


_NUMBER = (1, 2, 4, 8)
_SIZES: dict[str, tuple[int, ...]] = {
    "uint": _NUMBER,
    "int": _NUMBER,
    "bool": _NUMBER,
    "enum": _NUMBER,
    "uint_be": _NUMBER,
    "float": (4, 8),
    "ip4": (4,),
    "ip6": (16,),
    "mac": (6,),
    "time": (8,),
    "duration": (4, 8),
}


def _unique(names: list[str], where: str) -> None:
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    _demand(twice is None, where, f"has {twice!r} twice")


def _demand(holds: bool, where: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{where}: {rule}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _wrong(why: str, error: Exception) -> FormatError:
    text = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return FormatError("the module's manifest can't be used", f"{why}: {text}", "build the module again")


__all__ = [
    "ABI",
    "Capabilities",
    "Choice",
    "EventType",
    "Field",
    "FieldKind",
    "Kernel",
    "Manifest",
    "MapNeeds",
    "ObjectNeeds",
    "Param",
    "ProgramNeeds",
]
