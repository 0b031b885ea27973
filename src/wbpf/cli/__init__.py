"""The `wbpf` command."""

from wbpf.cli.app import main

__all__ = ["main"]
