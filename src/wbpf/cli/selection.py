"""Which store and which traces a command is about: options that commands share."""

from __future__ import annotations

import re
import shlex
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from wbpf.cli.output import note
from wbpf.errors import AccessError, ConfigError, StoreError
from wbpf.records import Status
from wbpf.store import Store, TraceSummary, default_path

StoreOption = Annotated[
    Path | None, typer.Option(metavar="PATH", help="The store. [default: ~/.local/state/wbpf/traces.db]")
]
TriggerOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only those that this trigger caught.")
]
HostOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only those that this host took part in.")
]
StatusOption = Annotated[
    str | None, typer.Option(metavar="STATUS", help="Only those: complete, partial or unknown.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Only since then: 30s, 10m, 2h, 3d ago, or 2025-10-09T08:53."),
]
LimitOption = Annotated[int | None, typer.Option(min=0, help="So many at most, the newest.")]
AllOption = Annotated[bool, typer.Option("--all", help="All traces.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The beginning of an id, or `latest`.")]
IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Beginnings of ids, or `latest`.")
]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which traces, as the options say it."""

    trigger: str | None = None
    host: str | None = None
    status: str | None = None
    since: str | None = None
    limit: int | None = None

    def any(self) -> bool:
        return any(
            value is not None for value in (self.trigger, self.host, self.status, self.since, self.limit)
        )

    def select(self, store: Store) -> Iterator[TraceSummary]:
        """The traces that they leave, newest first.

        Raises:
            ConfigError: there is no such status, or `since` can't be read.
        """
        if self.status is not None and self.status not in set(Status):
            raise ConfigError(f"no status {self.status!r}", "", f"choose from {', '.join(Status)}")
        since = None if self.since is None else parse_since(self.since)
        return store.traces(self.limit, trigger=self.trigger, host=self.host, status=self.status, since=since)

    def left_nothing(self, store: Store) -> str:
        """Why there are no traces."""
        there = sum(store.stats().traces.values())
        if there and self.any():
            return f"no traces: the filters left none of {there}"
        return "no traces: a trigger that fires, or `wbpf dump ID`, brings one here"


def chosen_ids(store: Store, ids: Sequence[str], filters: Filters, everything: bool) -> list[bytes]:
    """The traces that a command was given, by ids or by filters.

    Raises:
        ConfigError: neither, or both, were given.
        StoreError: an id is of no trace, or of several.
    """
    by_filter = filters.any() or everything
    if ids and by_filter:
        raise ConfigError("ids and filters don't go together", "", "give the one or the other")
    if not ids and not by_filter:
        raise ConfigError("no trace was named", "", "give ids, filters as --trigger NAME, or --all")
    if ids:
        return list(dict.fromkeys(store.find(text) for text in ids))
    chosen = [summary.trace_id for summary in filters.select(store)]
    if not chosen:
        note(filters.left_nothing(store))
    return chosen


def parse_since(text: str) -> int:
    """`10m` before now, or a moment, in nanoseconds since 1970.

    Raises:
        ConfigError: it is neither.
    """
    if match := re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhd])", text):
        return time.time_ns() - int(float(match[1]) * _UNITS_S[match[2]] * 1e9)
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1e9)
    except (ValueError, OverflowError, OSError):
        hint = "write 30s, 10m, 2h or 3d, or a time as 2025-10-09T08:53:20"
        raise ConfigError(f"--since {text!r} can't be read", "", hint) from None


@contextmanager
def opened(path: Path | None, readonly: bool = True) -> Iterator[Store]:
    """The store that was named, or the default one."""
    with Store.open(path or default_path(), readonly) as store:
        yield store


def in_folder(path: Path) -> Path:
    """The path of a store that may have to be made, in a folder that is there.

    Raises:
        StoreError: there is no such folder. Only that of the default store is made.
        AccessError: this user may not look into it.
    """
    try:
        there = stat.S_ISDIR(path.absolute().parent.stat().st_mode)
    except PermissionError as error:
        raise AccessError(
            f"no store can be made at {path}",
            "this user may not look into its folder",
            "name another --store",
        ) from error
    except OSError:
        there = False
    if not there:
        parent = path.parent
        raise StoreError(
            f"no store can be made at {path}",
            f"there is no folder {parent}",
            "make it, or name another --store",
        )
    return path


def same_store(command: str, path: Path | None) -> str:
    """A command line for the same store."""
    return f"{command} --store {shlex.quote(str(path))}" if path else command
