"""Certificates for tests, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from wbpf.wire import TlsSpec


@dataclass(frozen=True)
class Authority:
    """Somebody who signs certificates."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Authority:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl: to make certificates")
        folder.mkdir()
        _openssl(
            folder,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            f"/CN={folder.name}",
        )
        return cls(folder)

    def issue(self, name: str, *names: str, days: int = 2) -> TlsSpec:
        """A certificate for one name and more; with days below 0, one that has expired."""
        stem = name.replace("*", "star")
        _openssl(
            self.folder,
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            f"{stem}.key",
            "-out",
            f"{stem}.csr",
            "-subj",
            f"/CN={name}",
        )
        extension = self.folder / f"{stem}.ext"
        extension.write_text("subjectAltName=" + ",".join(f"DNS:{item}" for item in (name, *names)))
        _openssl(
            self.folder,
            "x509",
            "-req",
            "-in",
            f"{stem}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            f"{stem}.pem",
            "-days",
            str(days),
            "-extfile",
            extension.name,
        )
        folder = self.folder
        return TlsSpec(folder / f"{stem}.pem", folder / f"{stem}.key", folder / "ca.pem", "daemons")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
