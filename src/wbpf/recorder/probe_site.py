"""Probe sites: named places in a Python program that eBPF programs are attached to while it runs."""

from __future__ import annotations

from wbpf import _native
from wbpf._native import ProbeSite
from wbpf.errors import ConfigError


def probe(provider: str, name: str) -> ProbeSite:
    """The probe site of a name; made once, where the module is imported, and called where it stands.

        ORDER = wbpf.probe("shop", "order")
        ORDER(number, "text")

    Of up to 8 arguments programs get 64 bits each: of an int its lowest, of a text or bytes the address of
    its content, which a NUL ends, and of anything else 0. While nothing is attached they are not looked at,
    and the site is false: `if ORDER: ORDER(expensive())`. Programs are attached from outside, by
    `wbpf.bpf.user.attach.attach_site`; see docs/probe-sites.md.

    Args:
        provider: and
        name: as in C, of letters, digits and underscores.

    Raises:
        ConfigError: it can't be a name.
    """
    for part in (provider, name):
        if not (part.isascii() and part.isidentifier()):
            why = f"{part!r} is not a name of letters, digits and underscores"
            raise ConfigError(f"a probe site can't be called {provider}:{name}", why)
    if len(provider) + len(name) > 254:
        raise ConfigError(f"a probe site can't be called {provider}:{name}", "it has more than 255 letters")
    _native.probes_listen()  # where that fails, nothing can be attached
    return _native.probe_site(f"{provider}:{name}")


__all__ = ["ProbeSite", "probe"]
