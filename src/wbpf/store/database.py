"""The SQLite file behind the store: opening it, its transactions, and its errors in wBPF's words."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import quote

from wbpf.errors import AccessError, StoreError
from wbpf.store.tables import APPLICATION_ID, TABLES, VERSION

Rows = list[tuple[Any, ...]]

_BUSY_S = 5.0


def default_path() -> Path:
    """Where the store is if nobody says otherwise: `traces.db` in the user's state directory (XDG)."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(state) / "wbpf/traces.db"


class Database:
    """One connection, which threads may share. Its transactions nest; the outermost one commits.

    Raises:
        StoreError: there is no such file, it is no store, or of a later version.
        AccessError: this user may not read it.
    """

    def __init__(self, path: Path, readonly: bool = False) -> None:
        self.path = path
        self.readonly = readonly
        self._lock = RLock()
        self._depth = 0
        with self.errors("opened"):
            self._connection = self._connect()
        try:
            with self.errors("opened"):
                self._prepare()
        except StoreError:
            self._connection.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        self._check_access()
        mode = "ro" if self.readonly else "rwc"
        return sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?mode={mode}",
            timeout=_BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )

    def _check_access(self) -> None:
        hint = "run as its owner, or name another --store"
        try:
            self.path.stat()
        except PermissionError as error:
            raise AccessError(
                f"the store {self.path} can't be opened", "this user may not look into its folder", hint
            ) from error
        except OSError as error:
            if self.readonly:
                raise StoreError(
                    f"no store at {self.path}",
                    "there is no such file",
                    "start `wbpf up`, or name another --store",
                ) from error
        else:
            if not os.access(self.path, os.R_OK, effective_ids=True):
                raise AccessError(f"the store {self.path} can't be opened", "this user may not read it", hint)

    def _prepare(self) -> None:
        run = self._connection.execute
        application = run("PRAGMA application_id").fetchone()[0]
        version = run("PRAGMA user_version").fetchone()[0]
        empty = run("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0] == 0
        if (application != APPLICATION_ID or version > VERSION) and not (empty and not self.readonly):
            why = (
                f"it has version {version}, this wbpf reads up to {VERSION}"
                if application == APPLICATION_ID
                else "it is the database of another program, or empty"
            )
            raise StoreError(f"{self.path} is not a store of this wbpf", why, "name another --store")
        if self.readonly:
            run("PRAGMA query_only = ON")
            return
        if empty:
            run("PRAGMA auto_vacuum = INCREMENTAL")
        run("PRAGMA journal_mode = WAL")
        # An acknowledged piece outlives a power cut, so each commit is flushed to the device.
        run("PRAGMA synchronous = FULL")
        run("PRAGMA journal_size_limit = 4194304")
        with self.transaction():
            # Another process may have made them meanwhile.
            if run("PRAGMA user_version").fetchone()[0] == 0:
                for statement in TABLES:
                    run(statement)
                run(f"PRAGMA application_id = {APPLICATION_ID}")
                run(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: what is written inside is committed together, and what is read is of one moment."""
        with self._lock, self.errors("read" if self.readonly else "written"):
            if self._depth == 0:
                self._connection.execute("BEGIN" if self.readonly else "BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            finally:
                self._depth -= 1
                if self._depth == 0 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside is of one moment."""
        with self._lock, self.errors("read"):
            if self._depth or self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def rows(self, statement: str, values: Sequence[object] = ()) -> Rows:
        with self._lock, self.errors("read"):
            return self._connection.execute(statement, values).fetchall()

    def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        with self.transaction():
            self._connection.executemany(statement, rows)

    def pragma(self, text: str) -> int:
        """Run a pragma to its end, outside of transactions, and return its first number."""
        with self._lock, self.errors("maintained"):
            rows = self._connection.execute(f"PRAGMA {text}").fetchall()
            return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        with self._lock, self.errors("closed"):
            self._connection.close()

    def list_hint(self) -> str:
        """What to try if a trace is not here."""
        there = "" if self.path == default_path() else f" --store {shlex.quote(str(self.path))}"
        return f"list them with `wbpf traces list{there}`"

    @contextmanager
    def errors(self, verb: str) -> Iterator[None]:
        """Turn SQLite's errors into StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            why, hint = _CAUSES.get(code, (None, ""))
            raise StoreError(
                f"the store {self.path} can't be {verb}", why or str(error), hint.format(path=self.path)
            ) from error
        except OverflowError as error:
            raise StoreError(
                f"the store {self.path} can't be {verb}", f"a number is out of range: {error}"
            ) from error


_CAUSES: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_BUSY: (
        f"another process has kept it locked for {_BUSY_S:.0f} s",
        "see who holds it with `fuser {path}`",
    ),
    sqlite3.SQLITE_FULL: (
        "the disk is full",
        "free some space, or delete traces with `wbpf traces delete --store {path}`",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "save what can be read with `sqlite3 {path} .recover`, then start with a new file",
    ),
    sqlite3.SQLITE_NOTADB: ("it is not an SQLite database, or is damaged", "name another --store"),
    sqlite3.SQLITE_CANTOPEN: (
        "the file can't be opened or made",
        "check that its folder exists and that this user may write there",
    ),
    sqlite3.SQLITE_READONLY: ("this user may not write it", "check the rights of the file and its folder"),
    sqlite3.SQLITE_IOERR: ("the device reports an error", "look into the system's log, or move the store"),
}
