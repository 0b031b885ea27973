"""Where the headers and SDKs are that come with this package: in a checkout, or in an installed wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from wbpf.errors import BuildError

_CHECKOUT = Path(__file__).resolve().parents[3]


def sdk_folder(language: str) -> Path:
    """The guest SDK for `c`, `rust` or `go`."""
    return _found("sdk", f"sdk/{language}", language)


def bpf_headers() -> Path:
    """The folder with wbpf/kernel.bpf.h."""
    return _found("include", "native/include", ".")


def _found(installed: str, checkout: str, below: str) -> Path:
    spec = importlib.util.find_spec("wbpf")
    places = list(spec.submodule_search_locations or ()) if spec else []
    candidates = [_CHECKOUT / checkout, *(Path(place) / "_c" / installed / below for place in places)]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise BuildError(
        f"{checkout} of wBPF is not here", "", "install the package, from the repository with `make setup`"
    )
