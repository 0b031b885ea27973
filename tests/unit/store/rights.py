"""Being a user without rights, whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What prints errors is imported late, and then the interpreter's own files may be out of reach.
import rich.console
import rich.text  # noqa: F401

NOBODY = 65534


@contextmanager
def shut_out(path: Path) -> Iterator[None]:
    """Inside, this process may not use `path`, which is given back its rights afterwards."""
    mode, user = path.stat().st_mode, os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)
