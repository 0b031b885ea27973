"""Archives of kernels' BTF in BTFHub's layout, in a folder or on a server; what comes is checked and kept.

An archive has DISTRIBUTION/VERSION/ARCHITECTURE/RELEASE.btf.tar.xz (or .btf), and at its root a list of
checksums, `SHA256SUMS`, as sha256sum(1) writes it. Folders, and servers reached by TLS, may do without.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.host import KernelName
from wbpf.bpf.btf.keeping import keep
from wbpf.envvars import CACHE_DIR
from wbpf.errors import BpfError, FormatError

SUMS = "SHA256SUMS"
_TIMEOUT_S = 30
_MOST_FETCHED, _MOST_UNPACKED = 64 << 20, 256 << 20


class Archive:
    """An archive.

    Args:
        place: a folder, or the beginning of URLs.
        cache: a folder for what is fetched; None for wBPF's.
        sums: a file of checksums that is trusted more than the archive's own.
    """

    def __init__(self, place: str, cache: Path | None = None, sums: Path | None = None) -> None:
        self.place = place.rstrip("/") or "/"
        self.is_remote = place.startswith(("http://", "https://"))
        folder = CACHE_DIR.read() / "btf" if cache is None else cache
        self._cache = folder / hashlib.sha256(self.place.encode()).hexdigest()[:16]
        self._sums_file = sums
        self._sums: dict[str, str] | None = None

    def find(self, kernel: KernelName) -> Path | None:
        """A file with the BTF of a kernel; None if the archive has none.

        Raises:
            BpfError: the archive can't be read or reached.
            FormatError: what it has is not what its list of checksums says, or no BTF.
        """
        parts = (kernel.distribution, kernel.version, kernel.machine, kernel.release)
        if not all(parts) or any("/" in part or part.startswith(".") for part in parts):
            return None
        kept = self._cache / kernel.path
        if kept.is_file():
            return kept
        for suffix in (".tar.xz", ""):
            path = kernel.path + suffix
            content = self._read(path)
            if content is None:
                continue
            self._check(path, content)
            if suffix:
                content = _unpacked(path, content)
            elif not self.is_remote:
                kept = Path(self.place) / path
            Btf.parse(content)
            return kept if kept.is_file() else keep(kept, content)
        return None

    def _read(self, path: str) -> bytes | None:
        if self.is_remote:
            return _fetched(f"{self.place}/{urllib.parse.quote(path)}")
        try:
            return (Path(self.place) / path).read_bytes()
        except FileNotFoundError:
            if not Path(self.place).is_dir():
                raise BpfError(
                    f"BTF archive {self.place!r} can't be read", "there is no such folder", "check the path"
                ) from None
            return None
        except OSError as error:
            raise BpfError(f"BTF archive {self.place!r} can't be read", str(error)) from error

    def _check(self, path: str, content: bytes) -> None:
        wanted = self._known_sums().get(path)
        if wanted is None:
            if not self._sums and self._sums_file is None and not self.place.startswith("http://"):
                return
            raise FormatError(
                f"{path} can't be trusted",
                f"the archive has no checksum of it in {SUMS}"
                if self._sums
                else f"it came without TLS, and the archive has no {SUMS}",
                "use https://, or give checksums: --sums FILE",
            )
        found = hashlib.sha256(content).hexdigest()
        if found != wanted:
            why = f"its sha256 is {found}, {SUMS} says {wanted}"
            raise FormatError(f"{path} is not what it should be", why, "fetch it again, or tell who keeps it")

    def _known_sums(self) -> dict[str, str]:
        if self._sums is None:
            text = self._read(SUMS) if self._sums_file is None else self._sums_file.read_bytes()
            lines = (text or b"").decode(errors="replace").splitlines()
            pairs = [line.split(maxsplit=1) for line in lines]
            self._sums = {
                name.lstrip("*").removeprefix("./").strip(): digest.lower()
                for digest, name in (pair for pair in pairs if len(pair) == 2)
            }
        return self._sums


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """What was asked for by TLS comes by TLS."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"it redirects to {newurl}, without TLS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetched(url: str) -> bytes | None:
    opener = urllib.request.build_opener(_NoDowngrade)
    what = f"{url} can't be fetched"
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            content: bytes = answer.read(_MOST_FETCHED + 1)
            expected = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise BpfError(what, f"the server says {error.code} {error.reason}", "check the archive") from None
    except (OSError, HTTPException) as error:
        why = str(getattr(error, "reason", "") or error)
        raise BpfError(
            what, why, "check the archive's address and the network, or go without: --btf none"
        ) from None
    if len(content) > _MOST_FETCHED:
        raise BpfError(what, f"it has more than {_MOST_FETCHED >> 20} MiB")
    if expected is not None and expected.isdecimal() and len(content) != int(expected):
        raise BpfError(what, f"it ended after {len(content)} of {expected} bytes", "try again")
    return content


def _unpacked(path: str, content: bytes) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r|xz") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isfile() and entry.name.endswith(".btf") else None
                if file is not None:
                    if entry.size > _MOST_UNPACKED:
                        raise FormatError(f"{path} can't be unpacked", f"its BTF has {entry.size} bytes")
                    return file.read(_MOST_UNPACKED)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise FormatError(f"{path} can't be unpacked", str(error), "fetch it again") from None
    raise FormatError(f"{path} can't be used", "it has no .btf in it")
