"""The section `wbpf.btf` of modules: reduced BTFs of kernels, a zip archive of `ARCHITECTURE/RELEASE.btf`."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping

from wbpf.errors import FormatError

SECTION = "wbpf.btf"
_MOST_BYTES = 64 << 20  # far above the BTF of any whole kernel
_TIME = (1980, 1, 1, 0, 0, 0)  # the same BTFs make the same bytes


def write_embedded(btfs: Mapping[tuple[str, str], bytes]) -> bytes:
    """The section's content. Args: btfs: by architecture (`x86_64`, `arm64`) and release."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for (machine, release), content in sorted(btfs.items()):
            entry = zipfile.ZipInfo(f"{machine}/{release}.btf", _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return out.getvalue()


def embedded_kernels(section: bytes) -> list[tuple[str, str]]:
    """Architecture and release of each kernel that the section has a BTF of.

    Raises:
        FormatError: it is damaged.
    """
    with _opened(section) as archive:
        parts = [name.removesuffix(".btf").partition("/") for name in archive.namelist()]
    return [(machine, release) for machine, _, release in parts]


def read_embedded(section: bytes, machine: str, release: str) -> bytes | None:
    """The BTF of one kernel; None if there is none.

    Raises:
        FormatError: the section is damaged.
    """
    with _opened(section) as archive:
        try:
            entry = archive.getinfo(f"{machine}/{release}.btf")
        except KeyError:
            return None
        if entry.file_size > _MOST_BYTES:
            raise _damaged(f"the BTF of {release} has {entry.file_size} bytes, over {_MOST_BYTES}")
        try:
            with archive.open(entry) as file:
                return file.read(_MOST_BYTES)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise _damaged(str(error)) from None


def _opened(section: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(section))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _damaged(str(error)) from None


def _damaged(why: str) -> FormatError:
    return FormatError(f"the module's section {SECTION!r} is damaged", why, "build the module again")
