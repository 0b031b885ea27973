"""What a module asks for in its manifest, and what of it the user grants."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wbpf.errors import AccessError, ConfigError

if TYPE_CHECKING:
    from wbpf.wasm.manifest import Capabilities

#: What `--allow` takes, and what it stands for.
KINDS = {
    "programs": "load eBPF programs",
    "attach": "attach them",
    "fs": "use files",
    "network": "connect to",
    "env": "read environment variables",
}
#: Trust in the module's maker, which `all` does not stand for: translated programs are not verified again.
NATIVE = "native"
_SHORT = {"tracepoint": "tp", "raw_tracepoint": "raw_tp"}


@dataclass(frozen=True)
class Grants:
    """Kinds of wishes that a module is granted; of each it gets what its manifest names, and no more."""

    kinds: frozenset[str] = frozenset()

    @classmethod
    def all(cls) -> Grants:
        """Whatever a module asks for."""
        return cls(frozenset(KINDS))

    @classmethod
    def parse(cls, text: str) -> Grants:
        """`none`, or `all` or kinds, and `native`, with commas between them.

        Raises:
            ConfigError: there is no such kind.
        """
        if text == "none":
            return cls()
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in (*KINDS, "all", NATIVE):
                raise ConfigError(
                    f"--allow {name!r} can't be used", "", f"choose from all, {', '.join(KINDS)}, {NATIVE}"
                )
        return cls(frozenset(names) - {"all"} | (frozenset(KINDS) if "all" in names else frozenset()))


def wishes(asked: Capabilities) -> dict[str, str]:
    """The kinds of what is asked for, and it in words."""
    return {kind: ", ".join(names) for kind in KINDS if (names := getattr(asked, kind))}


def demand(name: str, asked: Capabilities, grants: Grants) -> None:
    """Raise what is missing, unless all that is asked for is granted.

    Raises:
        AccessError: its hint is the flag to add.
    """
    wanted = wishes(asked)
    missing = [kind for kind in wanted if kind not in grants.kinds]
    if missing:
        why = "; ".join(f"it asks to {KINDS[kind]}: {wanted[kind]}" for kind in missing)
        given = [kind for kind in KINDS if kind in grants.kinds or kind in missing]
        raise AccessError(
            f"module {name!r} is not granted {', '.join(missing)}", why, f"--allow {','.join(given)}"
        )


@dataclass(frozen=True)
class Rights:
    """What a guest may do: the wishes that were granted; None stands for anything.

    Args:
        programs: types of programs.
        attach: patterns of places.
        fs: folders and files of the host, and whether they may be written.
        network: patterns of addresses to connect to.
    """

    programs: tuple[str, ...] | None = ()
    attach: tuple[str, ...] | None = ()
    fs: tuple[tuple[str, bool], ...] = ()
    network: tuple[str, ...] = ()
    env: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: Capabilities | None, grants: Grants) -> Rights:
        """The rights by a manifest; without one any program, and nothing else."""
        if asked is None:
            return cls(None, None)
        fs = tuple((wish[:-3], wish.endswith(":rw")) for wish in asked.fs)
        return cls(
            asked.programs if "programs" in grants.kinds else (),
            asked.attach if "attach" in grants.kinds else (),
            fs if "fs" in grants.kinds else (),
            asked.network if "network" in grants.kinds else (),
            asked.env if "env" in grants.kinds else (),
        )

    def validate_program(self, name: str, number: int) -> None:
        """Raise AccessError unless programs of this type (enum bpf_prog_type) may be loaded."""
        if self.programs is None or (kind := type_name(number)) in self.programs:
            return
        raise AccessError(
            f"program {name!r} may not be loaded",
            f"the manifest asks for {_listed(self.programs)}, it is of type {kind}",
            f'add "{kind}" to capabilities.programs in wbpf.toml and build again',
        )

    def validate_attach(self, name: str, places: Iterable[str]) -> None:
        """Raise AccessError unless a program may be attached to all places: `tp/sched/sched_switch`."""
        for place in places:
            if self.attach is not None and not any(_matches(place, pattern) for pattern in self.attach):
                raise AccessError(
                    f"program {name!r} may not be attached to {place!r}",
                    f"the manifest asks for {_listed(self.attach)}",
                    f'add "{place}" to capabilities.attach in wbpf.toml and build again',
                )

    def validate_file(self, path: str, write: bool) -> None:
        """Raise AccessError unless a file may be used."""
        for granted, writable in self.fs:
            inside = path == granted or path.startswith(granted.rstrip("/") + "/")
            if inside and ".." not in path.split("/") and (writable or not write):
                return
        raise AccessError(
            f"{path!r} may not be {'written' if write else 'read'}",
            "the module asks for no such file, or it is not granted",
            f'add "{path}:{"rw" if write else "ro"}" to capabilities.fs in wbpf.toml; run with --allow fs',
        )


def type_name(kind: int) -> str:
    """The name in manifests of an `enum bpf_prog_type`."""
    from wbpf.bpf.kinds import PROBE_SITE, ProgramType

    if kind == PROBE_SITE:
        return "probe"
    return ProgramType(kind).name.lower() if kind in list(ProgramType) else str(kind)


def short_head(head: str) -> str:
    """The first part of a section's name or pattern, in its short form."""
    return _SHORT.get(head, head)


def place_of(section: str, target: str) -> list[str]:
    """The places that a program is attached to, in the form of patterns."""
    head, _, rest = section.removeprefix("?").partition("/")
    head = short_head(head)
    if not target:
        return [f"{head}/{rest}" if rest else head]
    parts = [part.strip() for part in re.split(r"(?<!\\),", target)]
    return [f"{head}/{part.replace(':', '/', 1) if head == 'tp' else part}" for part in parts]


def _matches(place: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    head, _, rest = pattern.partition("/")
    pattern = f"{short_head(head)}/{rest}" if rest else short_head(head)
    return fnmatchcase(place, pattern) or (not rest and place.partition("/")[0] == pattern)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing of the kind"
