"""A daemon as somebody's child process: it is told what to be on standard input and ends with it.

The first line on standard input is the spec as JSON; the daemon answers with one line of JSON on standard
output: its `facts()`, or what went wrong.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from wbpf.errors import ConfigError, WbpfError
from wbpf.wire.daemon import Daemon, log_to_stderr

S = TypeVar("S")


def dump_spec(spec: Any, log_level: str = "warning") -> str:
    """A spec as one line of JSON."""
    return json.dumps({"spec": dataclasses.asdict(spec), "log_level": log_level}, default=str)


def load_spec(kind: type[S], values: Mapping[str, Any]) -> S:
    """The spec that was dumped."""
    hints = get_type_hints(kind)
    return kind(**{name: _load(hints[name], value) for name, value in values.items()})


def _load(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(item for item in get_args(hint) if item is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        return load_spec(hint, value)  # type: ignore[arg-type]
    if get_origin(hint) is not None and isinstance(value, dict):
        return {key: _load(get_args(hint)[1], item) for key, item in value.items()}
    return Path(value) if hint is Path else value


def _parse(text: bytes) -> dict[str, Any]:
    """The one line that tells a daemon what to be."""
    try:
        line = json.loads(text)
        return {"spec": dict(line["spec"]), "log_level": str(line["log_level"])}
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "the first line on standard input is no spec",
            str(error),
            "use `wbpf up`, or one daemon's command",
        ) from error


def run_child(kind: type[S], make: Callable[[S], Daemon]) -> int:
    """Be a daemon; returns the exit status."""
    text = b""
    while not text.endswith(b"\n"):
        more = os.read(0, 65_536)
        if not more:
            return 0  # whoever started us is gone already
        text += more

    def say(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    try:
        line = _parse(text)
        log_to_stderr(line["log_level"])
        daemon = make(load_spec(kind, line["spec"]))
        return daemon.run(when_ready=lambda: say(daemon.facts()), with_stdin=True)
    except WbpfError as error:
        say({"error": [error.what, error.why, error.hint], "exit_code": error.exit_code})
        return error.exit_code
