"""Debian packages, fetched by a private apt and unpacked into a cache. Nothing is installed.

The cache is `~/.cache/wbpf-vm`, or what WBPF_VM_CACHE says. What is in it is used without asking the network.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.vm.kernels import Kernel

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Debian 12's own QEMU (7.2) corrupts the state of 6.12 guests.
QEMU_SUITE = "bookworm-backports"
QEMU_PACKAGES = ("qemu-system-x86", "seabios")


def cache() -> Path:
    """Where packages are kept."""
    folder = Path(os.environ.get("WBPF_VM_CACHE", "~/.cache/wbpf-vm")).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Apt:
    """An apt of its own for a suite: own sources, lists and cache.

    Args:
        folder: where it keeps them.
        suites: Debian suites that it knows.
        architecture: of the packages.
        installed: a dpkg status file, of packages that need not be fetched.
    """

    def __init__(self, folder: Path, suites: tuple[str, ...], architecture: str, installed: Path) -> None:
        for name in ("lists/partial", "archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        sources = folder / "etc/sources.list"
        sources.write_text("".join(f"deb [signed-by={KEYRING}] {MIRROR} {one} main\n" for one in suites))
        self._folder = folder
        self._config = folder / "apt.conf"
        self._config.write_text(
            f'Dir::State "{folder}";\nDir::State::status "{installed}";\nDir::State::lists "lists";\n'
            f'Dir::Cache "{folder}";\nDir::Etc "{folder}/etc";\nDir::Etc::sourceparts "-";\n'
            f'APT::Architecture "{architecture}";\nAPT::Architectures {{ "{architecture}"; }};\n'
            f'APT::Sandbox::User "";\nAPT::Install-Recommends "0";\nAcquire::Languages "none";\n'
            f'Acquire::Retries "2";\nDebug::NoLocking "1";\n'
        )

    def run(self, *command: str) -> str:
        """Output of an apt command; skips the test that wants it if it fails."""
        done = subprocess.run(
            command,
            env={**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C"},
            cwd=self._folder / "archives",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            tail = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            pytest.skip(f"needs packages from {MIRROR}: {' '.join(command)}: {' '.join(tail)}")
        return done.stdout

    def kernel_packages(self, package: str) -> list[str]:
        """A package and those of kernels that it depends on: some suites split image and modules."""
        found = [package]
        for one in found:
            for line in self.run("apt-cache", "depends", "--important", one).splitlines():
                kind, _, name = line.strip().partition(": ")
                if kind == "Depends" and name.startswith("linux-") and not {name, f"<{name}>"} & {*found}:
                    found.append(name)
        return [one for one in found if "base" not in one]

    def unpack(self, names: list[str], into: Path) -> None:
        """Fetch packages, without their dependencies, and put their files into a folder."""
        self.run("apt-get", "download", *names)
        for package in sorted((self._folder / "archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", package, into], check=True)
            package.unlink()


def _need_debian() -> None:
    for command in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(command):
            pytest.skip(f"needs {command}: no such command")
    if not KEYRING.exists():
        pytest.skip("needs debian-archive-keyring: package signatures can't be checked")


@contextmanager
def made_once(folder: Path) -> Iterator[Path | None]:
    """A folder to fill, which becomes `folder` when it is; None if that is there. One process at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            yield None
            return
        _need_debian()
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)


def fetch_kernel(kernel: Kernel) -> Path:
    """The unpacked package of a kernel: `vmlinuz` and modules, wherever the suite puts them."""
    folder = cache() / f"kernel-{kernel.name}-{kernel.architecture}"
    with made_once(folder) as empty:
        if empty:
            status = empty / "status"
            status.touch()
            apt = Apt(empty / "apt", (kernel.suite,), kernel.architecture, status)
            apt.run("apt-get", "update")
            apt.unpack(apt.kernel_packages(f"linux-image-cloud-{kernel.architecture}"), empty)
            shutil.rmtree(empty / "apt")
    return folder


def fetch_qemu() -> Path:
    """Unpacked packages of QEMU, and of the libraries that this system lacks."""
    folder = cache() / "qemu-amd64"
    with made_once(folder) as empty:
        if empty:
            apt = Apt(empty / "apt", ("bookworm", QEMU_SUITE), "amd64", Path("/var/lib/dpkg/status"))
            apt.run("apt-get", "update")
            plan = apt.run("apt-get", "install", "--simulate", "-t", QEMU_SUITE, *QEMU_PACKAGES)
            names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
            apt.unpack([f"{name}/{QEMU_SUITE}" if _is_qemu(name) else name for name in names], empty)
            shutil.rmtree(empty / "apt")
    return folder


def _is_qemu(name: str) -> bool:
    return name.startswith(("qemu-", "seabios"))


def _fetched(name: str, suite: str, architecture: str, package: str, alone: str = "") -> Path:
    """A package that needs no other, unpacked into a folder of this name; beside `alone` no file is kept."""
    folder = cache() / name
    with made_once(folder) as empty:
        if empty:
            status = empty / "status"
            status.touch()
            apt = Apt(empty / "apt", (suite,), architecture, status)
            apt.run("apt-get", "update")
            apt.unpack([package], empty)
            shutil.rmtree(empty / "apt")
            for beside in (empty / alone).parent.iterdir() if alone else ():
                if beside != empty / alone:
                    beside.unlink()
    return folder


def fetch_busybox() -> Path:
    """A busybox without libraries, which is the guest's userland."""
    return _fetched("busybox-amd64", "bookworm", "amd64", "busybox-static") / "bin/busybox"


def fetch_qemu_user() -> Path:
    """The QEMU that runs single arm64 programs; it needs no libraries."""
    program = "usr/bin/qemu-aarch64"
    return _fetched("qemu-user-amd64", QEMU_SUITE, "amd64", "qemu-user", alone=program) / program


def fetch_libc_arm64() -> Path:
    """A root folder with the C library for arm64 programs."""
    return _fetched("libc-arm64", "bookworm", "arm64", "libc6")
