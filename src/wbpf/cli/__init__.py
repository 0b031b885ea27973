"""The `wbpf` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    words = sys.argv[1:] if args is None else list(args)
    if words[:1] == ["run"]:  # not by way of the others: it has to start fast
        from wbpf.cli import run

        return run.main(words[1:])
    from wbpf.cli import app

    return app.main(words)


__all__ = ["main"]
