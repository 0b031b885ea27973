"""BTF for this host: the kernel's own, else what a module carries, else what an archive has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from wbpf.bpf.btf.embedded import SECTION, read_embedded
from wbpf.bpf.btf.host import KernelName
from wbpf.bpf.btf.keeping import keep
from wbpf.envvars import BTF_ARCHIVE, CACHE_DIR
from wbpf.errors import BpfError

#: In place of a file or an archive: search nowhere.
NONE = "none"
_KERNEL = Path("/sys/kernel/btf/vmlinux")


def find(
    kernel: KernelName | None = None,
    sections: Mapping[str, bytes] | None = None,
    btf: str | None = None,
    *,
    own: Path = _KERNEL,
    sums: Path | None = None,
) -> Path | None:
    """The BTF file that a kernel's programs are to be loaded with.

    Args:
        kernel: None for the running one.
        sections: of the module that has the programs; its `wbpf.btf` may have the kernel's.
        btf: of the command line: a file of raw BTF; a folder or URL of an archive; `none`: search nowhere.
            None: the archive that WBPF_BTF_ARCHIVE names, if any.
        own: where the running kernel has its BTF.
        sums: trusted checksums of the archive.

    Returns:
        None if the kernel has its own, which is best, or if nothing was found.

    Raises:
        BpfError: the file or archive can't be read.
        FormatError: what was found is damaged.
    """
    if btf is not None and btf != NONE and not btf.startswith(("http://", "https://")):
        path = Path(btf)
        if not path.exists():
            raise BpfError(f"BTF {btf!r} can't be read", "there is no such file or folder", "check the path")
        if not path.is_dir():
            return path
    if own.exists() and btf is None:
        return None
    if btf == NONE:
        return None
    kernel = KernelName.of_host() if kernel is None else kernel
    if btf is None and sections and SECTION in sections:
        content = read_embedded(sections[SECTION], kernel.machine, kernel.release)
        if content is not None:
            name = hashlib.sha256(content).hexdigest()
            kept = CACHE_DIR.read() / "btf" / "embedded" / f"{name}.btf"
            return kept if kept.is_file() else keep(kept, content)
    place = BTF_ARCHIVE.read() if btf is None else btf
    if not place or place == NONE:
        return None
    from wbpf.bpf.btf.archive import Archive

    return Archive(place, sums=sums).find(kernel)
