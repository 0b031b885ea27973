"""What the parameters of a module come to: values of variables, and programs that are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Self

from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from wbpf.bpf.kernel import Object
    from wbpf.bpf.user.objects import UserObject
    from wbpf.wasm.manifest import Manifest
    from wbpf.wasm.params import Value


@dataclass(frozen=True)
class Settled:
    """Parameters that all have a value.

    Args:
        texts: of the values, as guests get them.
        variables: of eBPF objects, by name: packs the value for a variable's size.
        unwanted: programs that are not to be loaded.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Callable[[int], bytes]] = field(default_factory=dict)
    unwanted: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, manifest: Manifest | None, name: str, given: Mapping[str, Value], *, complete: bool = True
    ) -> Self:
        """What is given, and the defaults of the others.

        Args:
            manifest: of the module.
            name: of the module, for messages.
            given: values by name, as texts of the command line or plain.
            complete: parameters without a default have to be given.

        Raises:
            ConfigError: there is no such parameter, one is missing, or a value can't be used.
        """
        params = manifest.params if manifest else ()
        for unknown in given.keys() - {param.name for param in params}:
            names = ", ".join(f"--{param.name}" for param in params) or "none"
            raise ConfigError(f"module {name!r} has no parameter {unknown!r}", "", f"it has {names}")
        texts: dict[str, str] = {}
        variables: dict[str, Callable[[int], bytes]] = {}
        unwanted: set[str] = set()
        for param in params:
            one = given.get(param.name)
            value = param.value_of_default() if one is None else param.value_of(one)
            if value is None and not complete:
                continue
            if value is None:
                raise ConfigError(
                    f"parameter --{param.name} is missing", param.help, f"add {param.example()}"
                )
            texts[param.name] = str(value) if param.type == "duration" else param.text(value)
            unwanted.update(param.unwanted_programs(value))
            if param.variable:
                variables[param.variable] = partial(param.pack, value)
        return cls(texts, variables, frozenset(unwanted))

    def apply(self, target: Object | UserObject) -> None:
        """Set the variables of an object that is not loaded, and leave out its unwanted programs.

        Raises:
            ConfigError: a value does not fit into its variable.
        """
        for program in target.programs.values():
            if program.name in self.unwanted:
                program.autoload = False
        for name, pack in self.variables.items():
            if name in target.variables:
                target.variables[name] = pack(target.variables.describe(name).size_bytes)
