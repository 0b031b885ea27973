"""The file that `wbpf inspect` and `wbpf check` are given: a module of either ABI, or a bare eBPF object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wbpf.errors import BpfError, FormatError
from wbpf.wasm.file import read_file
from wbpf.wasm.inside import find_objects
from wbpf.wasm.manifest import Manifest
from wbpf.wasm.sections import read_sections


@dataclass(frozen=True)
class ProbeFile:
    """Args: abi: `wbpf`, `wasm_bpf`, or "" for an object; manifest: None if it has none."""

    path: Path
    abi: str
    objects: dict[str, bytes]
    sections: dict[str, bytes]
    manifest: Manifest | None = None

    @classmethod
    def open(cls, path: Path) -> ProbeFile:
        """Read it; nothing of it is run.

        Raises:
            ConfigError: it can't be read.
            BpfError: it has no eBPF object.
            FormatError: it is neither a module nor an object, or is damaged.
        """
        content = read_file(path)
        if content.startswith(b"\x7fELF"):
            name = path.name.removesuffix(".o").removesuffix(".bpf")
            return cls(path, "", {name: content}, {})
        if not content.startswith(b"\0asm"):
            why = "it starts neither as a WebAssembly module nor as an eBPF object does"
            raise FormatError(f"{path.name!r} is no probe", why, "give a .wasm file, or a .bpf.o")
        sections = read_sections(content)
        manifest = Manifest.of(sections)
        objects = find_objects(content)
        if not objects:
            raise BpfError(f"{path.name!r} has no eBPF object", "neither in its sections nor in its memory")
        return cls(path, "wbpf" if manifest else "wasm_bpf", objects, sections, manifest)
