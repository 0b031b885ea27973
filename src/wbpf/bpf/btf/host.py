"""Which kernel this is, in the words of archives of BTF."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_ARCHITECTURES = {"aarch64": "arm64", "amd64": "x86_64"}


@dataclass(frozen=True, slots=True)
class KernelName:
    """A kernel. Args: distribution, version: as in /etc/os-release; "" if they are not known."""

    release: str
    machine: str
    distribution: str = ""
    version: str = ""

    @classmethod
    def of_host(cls, os_release: Path | None = None) -> Self:
        """The running one."""
        system = os.uname()
        values = _read(os_release)
        return cls(
            system.release,
            architecture(system.machine),
            values.get("ID", ""),
            values.get("VERSION_ID", ""),
        )

    @property
    def path(self) -> str:
        """Where BTFHub keeps its BTF: `ubuntu/20.04/x86_64/5.4.0-91-generic.btf`."""
        return f"{self.distribution}/{self.version}/{self.machine}/{self.release}.btf"


def architecture(machine: str) -> str:
    """The name of an architecture in archives: `arm64` for aarch64."""
    return _ARCHITECTURES.get(machine, machine)


def _read(path: Path | None) -> dict[str, str]:
    if path is None:
        try:
            return platform.freedesktop_os_release()
        except OSError:
            return {}
    lines = [line.partition("=") for line in path.read_text().splitlines() if "=" in line]
    return {name: value.strip("\"'") for name, _, value in lines}
