"""Where a module may connect to: patterns of its manifest, which can name parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from wbpf import _native
from wbpf.errors import ConfigError

if TYPE_CHECKING:
    from wbpf.wasm.manifest import Capabilities, Manifest

_PARAM = re.compile(r"\{([^}]*)\}")
#: What a pattern looks like.
FORM = "tcp:HOST:PORT, udp:HOST:PORT or unix:/PATH"


def validate_pattern(pattern: str, params: Collection[str]) -> None:
    """Check a pattern of a manifest: `tcp:*.example:443`, `udp:{statsd}` for what a parameter says.

    Raises:
        ValueError: what is wrong with it.
    """
    named = _PARAM.findall(pattern)
    if unknown := next((name for name in named if name not in params), None):
        raise ValueError(f"there is no parameter {unknown!r}")
    if not named and not _native.is_address_pattern(pattern):
        raise ValueError(f"must be {FORM}, not {pattern!r}")


def asked_with(manifest: Manifest, texts: Mapping[str, str]) -> Capabilities:
    """What a module asks for with these values of its parameters; patterns with an empty one are left out.

    Raises:
        ConfigError: a value makes no address.
    """
    asked = manifest.capabilities
    return replace(asked, network=tuple(filter(None, (_filled(one, texts) for one in asked.network))))


def _filled(pattern: str, texts: Mapping[str, str]) -> str:
    named = _PARAM.findall(pattern)
    if not all(texts.get(name) for name in named):
        return ""
    text = _PARAM.sub(lambda name: texts[name[1]], pattern)
    if named and not _native.is_address_pattern(text):
        flags = ", ".join(f"--{name} {texts[name]}" for name in named)
        raise ConfigError(f"{flags} can't be used", f"{text!r} is no address", f"an address is {FORM}")
    return text
