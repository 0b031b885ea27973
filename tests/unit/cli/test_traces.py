from __future__ import annotations

import json
import math
import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace as PerfettoTrace

from tests.unit.cli.conftest import Run
from tests.unit.cli.golden import assert_golden
from tests.unit.records.building import EPOCH_NS
from tests.unit.records.cluster import LATERAL, TRACE_ID, conclusion, sources
from tests.unit.store.filling import fill, put_sources
from tests.unit.store.rights import shut_out
from wbpf.cli.selection import parse_since
from wbpf.errors import AccessError, ConfigError, StoreError
from wbpf.store import Store

ID, LATERAL_ID, OLD_ID = TRACE_ID.hex(), LATERAL.hex(), "ab" * 16


def ids(out: str) -> list[str]:
    return [row["trace_id"] for row in json.loads(out)]


def test_list_as_columns(run: Run, store: Path) -> None:
    ran = run("traces", "list", "--store", store)
    assert ran.status == 0 and ran.err == ""
    assert_golden("traces-list.txt", ran.out)


def test_list_has_everything_for_programs(run: Run, store: Path) -> None:
    ran = run("traces", "list", "--store", store, "-o", "json")
    assert ids(ran.out) == [ID, LATERAL_ID, OLD_ID]
    first, _, old = json.loads(ran.out)
    assert first == {
        "trace_id": ID,
        "time_unix_ns": EPOCH_NS + 95_000,
        "time": "2025-10-09T08:53:20.000095Z",
        "trigger": "slow",
        "value": 12.5,
        "trigger_host": "host1",
        "status": "complete",
        "hosts": [
            {"name": "host1", "status": "complete", "reasons": [], "records": 10, "bytes": 320},
            {"name": "host2", "status": "complete", "reasons": [], "records": 7, "bytes": 312},
            {"name": "host3", "status": "complete", "reasons": [], "records": 4, "bytes": 136},
        ],
        "records": 21,
        "bytes": 768,
        "group_id": ID,
        "laterals": [LATERAL_ID],
        "concluded_unix_ns": EPOCH_NS + 5_000_000,
    }
    assert old["status"] == "partial" and old["hosts"][1]["reasons"] == ["host2 did not answer"]
    assert yaml.safe_load(run("traces", "list", "--store", store, "-o", "yaml").out) == json.loads(ran.out)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--trigger", "stale_read"], [OLD_ID]),
        (["--host", "host3"], [ID, OLD_ID]),
        (["--status", "partial"], [OLD_ID]),
        (["--since", "2025-10-09T08:53:20+00:00"], [ID, LATERAL_ID]),
        (["--limit", "1"], [ID]),
        (["--limit", "0"], []),
        (["--sort", "time_unix_ns"], [OLD_ID, LATERAL_ID, ID]),
        (["--sort", "-records", "--fields", "records,trace_id"], [ID, LATERAL_ID, OLD_ID]),
        (["--trigger", "none"], []),
    ],
)
def test_list_filters_and_sorts(run: Run, store: Path, options: list[str], expected: list[str]) -> None:
    ran = run("traces", "list", "--store", store, "-o", "json", *options)
    assert (ran.status, ids(ran.out)) == (0, expected)


def test_a_trace_that_is_not_concluded_shows_what_its_pieces_say(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "open.db"
    with Store.open(path) as opened:
        put_sources(opened, sources())
    (row,) = json.loads(run("traces", "list", "--store", path, "-o", "json").out)
    shown = json.loads(run("traces", "show", "latest", "--store", path, "-o", "json").out)
    assert (row["trigger"], row["value"], row["trigger_host"]) == ("slow", 12.5, "host1")
    assert [host["name"] for host in row["hosts"]] == ["host1", "host2", "host3"]
    assert row["records"] == len(shown["records"]) == sum(host["records"] for host in row["hosts"]) > 0
    assert row["concluded_unix_ns"] is None and row["laterals"] == [LATERAL_ID]
    listed = run("traces", "list", "--store", path, "--host", "host2").out.splitlines()[1]
    assert "slow" in listed and "host1?,host2?,host3?" in listed


def test_a_value_that_is_none_is_a_dash(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "open.db"
    with Store.open(path) as opened:
        fill(opened, ["77"])
        opened.conclude(replace(conclusion(), trigger_value=math.nan))
    listed = run("traces", "list", "--store", path, "--fields", "value").out
    assert [line.strip() for line in listed.splitlines()] == ["VALUE", "-", "12.5"]


def test_filters_that_leave_nothing_say_of_how_many(store: Path, tmp_path: Path) -> None:
    assert "the filters left none of 3" in on_terminal("traces", "list", "--store", store, "--trigger", "x")
    assert "the filters left none of 3" in on_terminal(
        "traces", "delete", "--yes", "--store", store, "--trigger", "x"
    )
    Store.open(tmp_path / "empty.db").close()
    for options in ([], ["--trigger", "x"]):
        said = on_terminal("traces", "list", "--store", tmp_path / "empty.db", *options)
        assert "no traces: a trigger that fires" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--status", "good"], "choose from complete, partial, unknown"),
        (["--since", "yesterday"], "write 30s, 10m"),
        (["--fields", "statu"], "did you mean status?"),
    ],
)
def test_wrong_options_are_explained(run: Run, store: Path, options: list[str], said: str) -> None:
    ran = run("traces", "list", "--store", store, *options)
    assert ran.status == ConfigError.exit_code and said in ran.err and ran.out == ""


def test_a_store_that_is_not_there(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("traces", "list", "--store", tmp_path / "none.db")
    assert ran.status == StoreError.exit_code and "no store at" in ran.err
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert str(tmp_path / "wbpf/traces.db") in run("traces", "list").err


def test_a_store_in_a_folder_of_somebody_else(run: Run, store: Path) -> None:
    with shut_out(store.parent):
        ran = run("traces", "list", "--store", store)
    assert ran.status == AccessError.exit_code == 3
    assert f"the store {store} can't be opened" in ran.err and "try: " in ran.err


def test_since_takes_spans_and_moments() -> None:
    assert abs(time.time_ns() - parse_since("1.5h") - 5_400 * 10**9) < 10**9
    assert parse_since("2025-10-09T08:53:20Z") == EPOCH_NS


@pytest.mark.parametrize("name", [ID, ID[:5], "latest"])
def test_show_draws_the_trace(run: Run, store: Path, name: str) -> None:
    ran = run("traces", "show", name, "--store", store, "--width", 80)
    assert ran.status == 0 and ran.err == ""
    assert_golden("swimlane/plain-80.txt", ran.out)


def test_show_takes_the_latest_by_itself(run: Run, store: Path) -> None:
    assert run("traces", "show", "--store", store).out == run("traces", "show", ID, "--store", store).out


def test_show_for_programs_is_the_export(run: Run, store: Path) -> None:
    shown = json.loads(run("traces", "show", ID, "--store", store, "-o", "json").out)
    assert shown == yaml.safe_load(run("traces", "show", ID, "--store", store, "-o", "yaml").out)
    ran = subprocess.run(
        [sys.executable, "-m", "wbpf.cli", "traces", "export", ID, "--store", store],
        capture_output=True,
        check=True,
    )
    assert ran.stderr == b"" and json.loads(ran.stdout) == shown


def test_mistyped_ids_are_guessed(run: Run, store: Path) -> None:
    ran = run("traces", "show", "4bf92f3578", "--store", store)
    assert ran.status == StoreError.exit_code and f"did you mean {ID}?" in ran.err


@pytest.mark.parametrize(
    ("file", "options", "begins"),
    [
        ("t.json", [], b'{"format": "wbpf-trace"'),
        ("t.otlp.json", [], b'{"resourceSpans":'),
        ("t.csv", [], b"trace_id,time_unix_ns,"),
        ("t.dat", ["-f", "csv"], b"trace_id,time_unix_ns,"),
        ("t.parquet", [], b"PAR1"),
    ],
)
def test_export_guesses_the_format(
    run: Run, store: Path, tmp_path: Path, file: str, options: list[str], begins: bytes
) -> None:
    if file.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    ran = run("traces", "export", ID, "--store", store, "--to", tmp_path / file, *options)
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    assert (tmp_path / file).read_bytes().startswith(begins)
    assert {path.name for path in tmp_path.iterdir()} >= {file}
    assert not list(tmp_path.glob(f".{file}*"))


def test_export_to_perfetto(run: Run, store: Path, tmp_path: Path) -> None:
    for file in ("a.pftrace", "b.perfetto"):
        assert run("traces", "export", "latest", "--store", store, "--to", tmp_path / file).status == 0
        assert len(PerfettoTrace.FromString((tmp_path / file).read_bytes()).packet) > 20


def test_export_links_to_lateral_traces_in_the_store(run: Run, store: Path, tmp_path: Path) -> None:
    with Store.open(store) as opened:
        fill(opened, [LATERAL_ID[:31]])  # another id: nothing that could be linked to
    out = tmp_path / "t.otlp.json"

    def links() -> list[dict[str, str]]:
        assert run("traces", "export", ID, "--store", store, "--to", out).status == 0
        spans = json.loads(out.read_text())["resourceSpans"][0]["scopeSpans"][0]["spans"]
        return [link for span in spans for link in span.get("links", [])]

    assert links() == []
    with Store.open(store) as opened:
        (trace_id,) = fill(opened, ["77"])
        pieces = opened.trace(trace_id)
        assert pieces.roots[0].span_id == 1
        opened.conclude(replace(conclusion(), laterals=(trace_id,)))
    assert links() == [{"traceId": trace_id.hex(), "spanId": "0000000000000001"}]


def test_export_of_several(run: Run, store: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.json"

    def exported(*arguments: str) -> list[str]:
        assert run("traces", "export", "--store", store, "--to", out, *arguments).status == 0
        return [json.loads(line)["trace_id"] for line in out.read_text().splitlines()]

    assert exported(ID[:4], "ab", ID) == [ID, OLD_ID]
    assert exported("--all") == [ID, LATERAL_ID, OLD_ID]
    assert exported("--trigger", "slow", "--limit", "1") == [ID]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "give ids, filters as --trigger NAME, or --all"),
        ([ID, "--all"], 2, "give the one or the other"),
        (["77"], StoreError.exit_code, "no trace '77'"),
        ([ID, "-f", "xml"], 9, "there are json, perfetto"),
    ],
)
def test_export_that_can_not_be(
    run: Run, store: Path, tmp_path: Path, arguments: list[str], status: int, said: str
) -> None:
    out = tmp_path / "out.json"
    out.write_text("before")
    ran = run("traces", "export", "--store", store, "--to", out, *arguments)
    assert ran.status == status and said in ran.err
    assert out.read_text() == "before" and not list(tmp_path.glob(".out*"))


def test_export_to_a_place_that_is_not_there(run: Run, store: Path, tmp_path: Path) -> None:
    ran = run("traces", "export", ID, "--store", store, "--to", tmp_path / "none" / "x.json")
    assert ran.status == 9 and "No such file or directory" in ran.err


def test_delete(run: Run, store: Path) -> None:
    assert run("traces", "delete", ID[:4], "--store", store).status == 0
    ran = run("traces", "delete", "--trigger", "slow", "--store", store)
    assert ran.status == 2 and "1 trace would be deleted" in ran.err
    assert ids(run("traces", "list", "--store", store, "-o", "json").out) == [LATERAL_ID, OLD_ID]
    assert run("traces", "delete", "--trigger", "slow", "--store", store, "--yes").status == 0
    assert ids(run("traces", "list", "--store", store, "-o", "json").out) == [OLD_ID]
    assert run("traces", "delete", "--all", "--yes", "--store", store).status == 0
    assert ids(run("traces", "list", "--store", store, "-o", "json").out) == []


def on_terminal(*arguments: object) -> str:
    """What a person sees: standard output and error are a terminal of 80 columns."""
    primary, secondary = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "wbpf.cli", *map(str, arguments)],
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        env=env,
    )
    os.close(secondary)
    chunks = []
    try:
        while chunk := os.read(primary, 65536):
            chunks.append(chunk)
    except OSError:
        pass  # how a terminal says that everybody has left it
    os.close(primary)
    assert process.wait(timeout=30) == 0
    return b"".join(chunks).decode()


def test_a_terminal_gets_colours_and_the_next_command(store: Path) -> None:
    listed = on_terminal("traces", "list", "--store", store)
    assert "\x1b[32mcomplete" in listed
    assert f"next: wbpf traces show {ID[:12]} --store {store}" in listed
    shown = on_terminal("traces", "show", "latest", "--store", store)
    assert "\x1b[1;36m◆" in shown
    assert f"next: wbpf traces export {ID[:12]} --to {ID[:12]}.pftrace --store {store}" in shown


def test_ten_thousand_traces_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "big.db"
    with Store.open(path) as opened:
        fill(opened, [f"{i:04x}" for i in range(10_000)], bytes_each=8)
    command = [sys.executable, "-m", "wbpf.cli", "traces", "list", "--store", path]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(ran.stdout.splitlines()) == 10_001
