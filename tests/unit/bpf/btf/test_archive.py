"""Archives in folders and on servers; all that may be wrong with them."""

from __future__ import annotations

import hashlib
import io
import ssl
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.wire.certificates import Authority
from wbpf.bpf.btf import KernelName, encode, find, write_embedded
from wbpf.bpf.btf import types as t
from wbpf.bpf.btf.archive import Archive
from wbpf.bpf.btf.embedded import embedded_kernels, read_embedded
from wbpf.errors import BpfError, FormatError

KERNEL = KernelName("5.4.0-91-generic", "x86_64", "ubuntu", "20.04")
PATH = "ubuntu/20.04/x86_64/5.4.0-91-generic.btf.tar.xz"
BTF = encode(
    [t.Int(1, "int", 4, signed=True, bits=32), t.Struct(2, "task_struct", 4, (t.Member("pid", 1, 0),))]
)
NO_FILE = Path("/nonexistent")


def packed(content: bytes, name: str = "5.4.0-91-generic.btf") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        entry = tarfile.TarInfo(f"./{name}")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def put(folder: Path, content: bytes, sums: bytes | None = None) -> Path:
    """Make `folder` an archive of one kernel. Args: sums: what the checksum is made of."""
    path = folder / PATH
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if sums is not None:
        (folder / "SHA256SUMS").write_text(f"{hashlib.sha256(sums).hexdigest()}  {PATH}\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WBPF_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Server(ThreadingHTTPServer):
    requests: list[str]
    redirect = ""


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect + self.path)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve(folder: Path, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, Server]]:
    folder.mkdir(exist_ok=True)
    server = Server(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(folder)))  # type: ignore[arg-type]
    server.requests = []
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}", server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def http(folder: Path) -> Iterator[tuple[str, Server]]:
    with serve(folder) as served:
        yield served


def test_a_folder(folder: Path, cache: Path) -> None:
    found = Archive(str(put(folder, packed(BTF)))).find(KERNEL)
    assert found and found.read_bytes() == BTF
    assert cache in found.parents
    assert Archive(str(folder)).find(KernelName("5.5.0", "x86_64", "ubuntu", "20.04")) is None


def test_raw_btf_in_a_folder_is_used_where_it_is(folder: Path, cache: Path) -> None:
    path = folder / KERNEL.path
    path.parent.mkdir(parents=True)
    path.write_bytes(BTF)
    assert Archive(str(folder)).find(KERNEL) == path


def test_a_server_is_asked_once(folder: Path, cache: Path, http: tuple[str, Server]) -> None:
    url, server = http
    content = packed(BTF)
    put(folder, content, sums=content)
    for _ in range(2):
        found = Archive(url).find(KERNEL)
        assert found and found.read_bytes() == BTF
    assert server.requests == [f"/{PATH}", "/SHA256SUMS"]


@pytest.mark.parametrize(
    ("content", "sums", "what"),
    [
        (packed(BTF), b"another", "is not what it should be"),
        (packed(BTF), None, "can't be trusted"),
        (packed(BTF)[:90], packed(BTF)[:90], "can't be unpacked"),
        (packed(b"no BTF at all" * 4), packed(b"no BTF at all" * 4), "not BTF"),
        (packed(BTF, "README"), packed(BTF, "README"), "can't be used"),
    ],
)
def test_what_can_not_be_trusted_is_not_kept(
    folder: Path, cache: Path, http: tuple[str, Server], content: bytes, sums: bytes | None, what: str
) -> None:
    put(folder, content, sums)
    with pytest.raises(FormatError, match=what):
        Archive(http[0]).find(KERNEL)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_trusted_checksums_beat_the_archive_s(
    folder: Path, cache: Path, http: tuple[str, Server], tmp_path: Path
) -> None:
    content = packed(BTF)
    put(folder, content, sums=content)
    sums = tmp_path / "trusted"
    sums.write_text(f"{'0' * 64} *{PATH}\n")
    with pytest.raises(FormatError, match="is not what it should be"):
        Archive(http[0], sums=sums).find(KERNEL)


def test_tls(folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, packed(BTF))
    authority = Authority.create(tmp_path / "ca")
    identity = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    with serve(folder, context) as (address, server):
        url = address.replace("127.0.0.1", "localhost")
        with pytest.raises(BpfError, match="certificate verify failed"):
            Archive(url).find(KERNEL)
        monkeypatch.setenv("SSL_CERT_FILE", str(identity.ca))
        assert Archive(url).find(KERNEL)
        server.redirect = "http://127.0.0.1:1"
        with pytest.raises(BpfError, match="without TLS"):
            Archive(url, cache=tmp_path / "other").find(KERNEL)


def test_nobody_there(cache: Path) -> None:
    with pytest.raises(BpfError, match=r"can't be fetched: .*refused"):
        Archive("http://127.0.0.1:1").find(KERNEL)
    with pytest.raises(BpfError, match="there is no such folder"):
        Archive("/nonexistent/archive").find(KERNEL)


@pytest.mark.parametrize("release", ["../../etc/passwd", "", ".hidden"])
def test_releases_that_are_no_file_names(folder: Path, cache: Path, release: str) -> None:
    put(folder, packed(BTF))
    assert Archive(str(folder)).find(KernelName(release, "x86_64", "ubuntu", "20.04")) is None


def test_this_host_s_name(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('ID=amzn\nVERSION_ID="2"\n# more\n')
    name = KernelName.of_host(release)
    assert (name.distribution, name.version) == ("amzn", "2")
    assert name.path == f"amzn/2/{name.machine}/{name.release}.btf"


def test_the_kernel_s_own_is_best(folder: Path, cache: Path, tmp_path: Path) -> None:
    own = tmp_path / "vmlinux"
    own.write_bytes(BTF)
    section = {"wbpf.btf": write_embedded({("x86_64", KERNEL.release): BTF})}
    assert find(KERNEL, section, own=own) is None
    assert find(KERNEL, section, btf=str(own), own=own) == own
    put(folder, packed(BTF))
    assert find(KERNEL, btf=str(folder), own=own) is not None


def test_what_a_module_carries_is_next_then_the_archive(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {"wbpf.btf": write_embedded({("x86_64", KERNEL.release): BTF})}
    found = find(KERNEL, section, own=NO_FILE)
    assert found and found.read_bytes() == BTF
    assert find(KERNEL, own=NO_FILE) is None
    monkeypatch.setenv("WBPF_BTF_ARCHIVE", str(put(folder, packed(BTF))))
    found = find(KERNEL, {}, own=NO_FILE)
    assert found and found.read_bytes() == BTF
    assert find(KERNEL, section, btf="none", own=NO_FILE) is None
    monkeypatch.setenv("WBPF_BTF_ARCHIVE", "none")
    assert find(KERNEL, own=NO_FILE) is None
    with pytest.raises(BpfError, match="there is no such file or folder"):
        find(KERNEL, btf="/nonexistent.btf")


def test_the_section_of_modules() -> None:
    btfs = {("x86_64", "5.10.0"): BTF, ("arm64", "5.10.0"): b"other"}
    section = write_embedded(btfs)
    assert section == write_embedded(dict(reversed(btfs.items())))
    assert embedded_kernels(section) == sorted(btfs)
    assert read_embedded(section, "arm64", "5.10.0") == b"other"
    assert read_embedded(section, "arm64", "5.11.0") is None


@pytest.mark.parametrize("cut", [0, 10, -1, -30])
def test_a_damaged_section(cut: int) -> None:
    with pytest.raises(FormatError, match=r"section 'wbpf.btf' is damaged"):
        read_embedded(write_embedded({("x86_64", "5"): BTF})[:cut], "x86_64", "5")
    damaged = bytearray(write_embedded({("x86_64", "5"): BTF * 9}))
    damaged[60] ^= 0xFF
    with pytest.raises(FormatError, match=r"section 'wbpf.btf' is damaged"):
        read_embedded(bytes(damaged), "x86_64", "5")
