"""A guest's files: an initramfs of busybox, what a test gives, and the shared libraries of that."""

from __future__ import annotations

import lzma
import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest

import wbpf._native

#: Path in the guest → a file or folder of this machine, or the bytes of a file.
Files = Mapping[str, Path | bytes]

#: Applets that a shell script may want; all others by `busybox NAME`.
APPLETS = (
    "awk cat chmod cp cut dd echo env false find grep head insmod ip kill ln ls mkdir mknod mount mv "
    "poweroff ps rm sed sh sleep stty tail test touch tr true umount uname wc xargs"
)
STDLIB_LEFT_OUT = {"test", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo", "site-packages"}


def guest_python(*distributions: str) -> dict[str, Path | bytes]:
    """This machine's Python for the guest: the command `python`, wbpf, and other installed distributions.

    libbpf is among it where it is installed: wbpf opens it by its name.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib, site = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platlib"))
    inside = f"usr/lib/{version}"
    files: dict[str, Path | bytes] = {
        "usr/bin/python": Path(sys.executable).resolve(),
        # Python takes what stands beside its executable for its home.
        **{f"{inside}/{one.name}": one for one in stdlib.iterdir() if one.name not in STDLIB_LEFT_OUT},
    }
    for name in distributions:
        for file in distribution(name).files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                files[f"{inside}/site-packages/{file}"] = site / file
    package, native = Path(wbpf.__file__).parent, Path(wbpf._native.__file__)
    files[f"{inside}/site-packages/wbpf"] = package
    files[f"{inside}/site-packages/wbpf/{native.name}"] = native
    return files | _libbpf()


def _libbpf() -> dict[str, Path | bytes]:
    found = re.search(r"libbpf\.so\.1 .*=> (/\S+)", subprocess.getoutput("/sbin/ldconfig -p"))
    return {"usr/lib/libbpf.so.1": Path(found[1])} if found else {}


def guest_modules(tree: Path, names: Iterable[str]) -> dict[str, Path | bytes]:
    """Kernel modules by name, and those that they need: `modules/NN.ko`, in the order to load them in.

    Args:
        tree: an unpacked kernel package.
        names: a module that is not there is built into that kernel, or unknown to it.
    """
    paths = tree.glob("**/lib/modules/*/kernel/**/*.ko*")
    found = {path.name.partition(".")[0].replace("-", "_"): path for path in paths}
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in found and name not in ordered:
            depends = re.search(rb"\0depends=([^\0]*)\0", _module(found[name]))
            for needed in depends[1].decode().split(",") if depends else ():
                add(needed.replace("-", "_"))
            ordered.append(name)

    for name in names:
        add(name.replace("-", "_"))
    return {f"modules/{i:02}.ko": _module(found[name]) for i, name in enumerate(ordered)}


def _module(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    return path.read_bytes()


def _walk(files: Files) -> Iterator[tuple[str, Path | bytes]]:
    """Files and symbolic links, without folders; caches of Python's compiler are for this machine's paths."""
    for where, what in files.items():
        if isinstance(what, Path) and what.is_dir():
            for root, folders, names in os.walk(what):
                folders[:] = [one for one in folders if one not in STDLIB_LEFT_OUT | {"__pycache__"}]
                for name in names:
                    path = Path(root, name)
                    yield f"{where}/{path.relative_to(what)}", path
        else:
            yield where, what


@cache
def _libraries(path: Path) -> dict[str, Path]:
    """The shared libraries that an ELF file is linked with, by where they are sought."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    found = re.findall(r"(?:=> |^\t)(/\S+) \(0x", done.stdout, re.MULTILINE)
    return {one.lstrip("/"): Path(one).resolve() for one in found}


def _with_libraries(files: Files) -> dict[str, Path | bytes]:
    all_files = dict(_walk(files))
    for what in list(all_files.values()):
        if isinstance(what, Path) and _is_elf(what):
            all_files |= {where: path for where, path in _libraries(what).items() if where not in all_files}
    return all_files


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


class _Archive:
    """A cpio archive as the kernel unpacks it (driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._inode = 0
        self._folders = {""}

    def add(self, where: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        parent = where.rpartition("/")[0]
        if parent not in self._folders:
            self._folders.add(parent)
            self.add(parent, stat.S_IFDIR | 0o755)
        self._inode += 1
        name = where.encode() + b"\0"
        numbers = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
        self._file.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))

    def close(self) -> None:
        self._inode = -1
        self.add("TRAILER!!!", 0)
        self._file.close()


def write_image(out: Path, busybox: Path, init: str, files: Files) -> int:
    """Write an initramfs; returns its bytes. `init` is the script that the kernel starts."""
    if not Path("/sbin/ldconfig").exists():
        pytest.skip("needs glibc: no ldconfig")
    archive = _Archive(out)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
    for name in APPLETS.split():
        archive.add(f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox")
    archive.add("init", stat.S_IFREG | 0o755, init.encode())
    for where, what in sorted(_with_libraries(files).items()):
        if isinstance(what, bytes):
            archive.add(where, stat.S_IFREG | 0o755, what)
        else:
            archive.add(where, stat.S_IFREG | (what.stat().st_mode & 0o777), what.read_bytes())
    archive.close()
    return out.stat().st_size
