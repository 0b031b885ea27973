"""What runs a module's eBPF programs: the kernel, or user space where that can't be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wbpf import _native
from wbpf.bpf.features import have_capabilities, have_libbpf
from wbpf.bpf.kinds import ProgramType, capabilities_for

if TYPE_CHECKING:
    from wbpf.wasm.manifest import Manifest

_ARRAY = 2


def without_kernel(objects: Mapping[str, bytes], manifest: Manifest | None) -> str:
    """Why the kernel can't run them; "" if it can, as far as can be told before."""
    for elf in objects.values():
        if b"\0probe/" in elf or b"\0?probe/" in elf:  # a section's name
            return "probe sites are of user space alone"
    have = have_libbpf()
    if not have:
        return have.why
    have = have_capabilities(_needed(manifest))
    if not have:
        return have.why
    made = _native.bpf_probe_map(_ARRAY, 8, 0)  # a container may allow no bpf(2) all the same
    return "" if made > 0 else "the kernel refuses eBPF maps"


def _needed(manifest: Manifest | None) -> set[str]:
    if manifest is None:
        return {"CAP_BPF", "CAP_PERFMON"}
    types = {kind.name.lower(): kind for kind in ProgramType}
    kinds = (types[name] for name in manifest.capabilities.programs if name in types)
    return {"CAP_BPF"}.union(*(capabilities_for(kind) for kind in kinds))
