"""Names of hosts, as they are given on command lines and in the environment."""

from __future__ import annotations

from collections.abc import Iterable

from wbpf.errors import ConfigError
from wbpf.wire.validate import MAX_NAME_BYTES


def checked_hosts(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each of which a segment's folder can have.

    Raises:
        ConfigError: one can't be a host's, or is there twice.
    """
    checked: list[str] = []
    for name in names:
        long = len(name.encode(errors="replace")) > MAX_NAME_BYTES
        if not name or long or name.startswith(".") or "/" in name or not name.isprintable():
            raise ConfigError(
                f"{name!r} is no name for a host",
                f"it has 1 to {MAX_NAME_BYTES} characters, no '/', and no '.' in front",
                "give another name, or set WBPF_HOST",
            )
        if name in checked:
            raise ConfigError(f"host {name!r} is named twice", "", "name each host once")
        checked.append(name)
    return tuple(checked)
