"""The kernels that tests boot, from kernels.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    """One line of the list. `name` is its version without patch level, or "newest"; `suite` is Debian's."""

    name: str
    suite: str
    architecture: str


def kernels() -> list[Kernel]:
    """All of the list, oldest first."""
    text = Path(__file__).with_name("kernels.toml").read_text()
    return [Kernel(**entry) for entry in tomllib.loads(text)["kernel"]]


def kernel(name: str) -> Kernel:
    """The kernel of that name."""
    return next(one for one in kernels() if one.name == name)
