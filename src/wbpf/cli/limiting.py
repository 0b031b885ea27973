"""Limits of triggers, as options give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wbpf.agent import TriggerLimit, read_limits

LimitsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trigger",
        metavar="NAME:rate=R,burst=B,weight=W",
        help="Limit of one trigger, or of all others with the name `*`. May be repeated.",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Limits of triggers, YAML; --trigger goes before it."),
]


def limits_of(config: Path | None, triggers: Sequence[str] | None) -> dict[str, TriggerLimit]:
    """The limits that options give.

    Raises:
        ConfigError: a file or flag can't be used.
    """
    limits = read_limits(config) if config is not None else {}
    return {**limits, **dict(TriggerLimit.parse_flag(text) for text in triggers or ())}
