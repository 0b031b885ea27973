from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.unit.store.filling import fill
from tests.unit.store.rights import shut_out
from wbpf.errors import AccessError, StoreError
from wbpf.store import Store, database


def test_a_reader_needs_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        Store.open(tmp_path / "none.db", readonly=True)
    assert not (tmp_path / "none.db").exists()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="check that its folder exists"):
        Store.open(tmp_path / "none" / "traces.db")


@pytest.mark.parametrize("readonly", [True, False])
def test_a_folder_that_may_not_be_looked_into(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "traces.db"
    Store.open(path).close()
    with shut_out(tmp_path), pytest.raises(AccessError, match="may not look into its folder"):
        Store.open(path, readonly)


def test_a_store_that_may_not_be_read() -> None:
    with TemporaryDirectory() as folder:  # the folders around tmp_path are the user's own
        path = Path(folder, "traces.db")
        Store.open(path).close()
        Path(folder).chmod(0o755)
        with shut_out(path), pytest.raises(AccessError, match="may not read it"):
            Store.open(path, readonly=True)


def test_hints_keep_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wbpf" / "traces.db"
    path.parent.mkdir()
    with Store.open(path) as store:
        for find in (lambda: store.find("ab"), lambda: store.find("xyz"), lambda: store.trace(bytes(16))):
            with pytest.raises(StoreError, match=rf"`wbpf traces list --store {path}`"):
                find()
            with monkeypatch.context() as default:
                default.setenv("XDG_STATE_HOME", str(tmp_path))
                with pytest.raises(StoreError, match="`wbpf traces list`"):
                    find()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (a)")
    before = path.read_bytes()
    for readonly in (True, False):
        with pytest.raises(StoreError, match="the database of another program"):
            Store.open(path, readonly)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no database " * 100)
    with pytest.raises(StoreError, match="not an SQLite database"):
        Store.open(path)


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path / "traces.db").close()
    with sqlite3.connect(tmp_path / "traces.db") as raw:
        raw.execute("PRAGMA user_version = 9")
    with pytest.raises(StoreError, match="it has version 9, this wbpf reads up to 1"):
        Store.open(tmp_path / "traces.db", readonly=True)


def test_a_damaged_file_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    with Store.open(path) as store:
        fill(store, [f"{i:02x}" for i in range(100)], bytes_each=500)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 8192))
    with pytest.raises(StoreError, match=r"sqlite3 .*traces.db .recover"), Store.open(path) as store:
        for summary in store.traces():
            store.trace(summary.trace_id)


def test_a_locked_store_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_S", 0.05)
    path = tmp_path / "traces.db"
    with Store.open(path) as store, Store.open(path) as other:
        with other.batch():
            with pytest.raises(StoreError, match=r"has kept it locked.*\n.*fuser"):
                fill(store, ["aa"])
            # Readers never wait.
            assert list(store.traces()) == []
        fill(store, ["aa"])
        assert len(list(other.traces())) == 1


def test_a_store_may_be_read_only(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"
    Store.open(path).close()
    with Store.open(path, readonly=True) as store, pytest.raises(StoreError, match="may not write"):
        store.delete([bytes(16)])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_costs_the_batch_and_no_more(small_disk: Path) -> None:
    with Store.open(small_disk / "traces.db") as store:
        kept = fill(store, ["aa"])
        with pytest.raises(StoreError, match=r"the disk is full\n.*wbpf traces delete"):
            fill(store, [f"{i:02x}" for i in range(100)], bytes_each=20_000)
        assert [summary.trace_id for summary in store.traces()] == kept
        fill(store, ["bb"])
        assert len(list(store.traces())) == 2
