from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.unit.cli.conftest import Run
from wbpf.errors import FormatError, SegmentError
from wbpf.recorder import Piece, Watch

PROGRAM = """
import sys
import wbpf

wbpf.open("shop", host="host1", directory=sys.argv[1], size_mib=2)
for i in range(3):
    with wbpf.trace("order", number=i) as trace:
        print(trace.trace_id)
        wbpf.event("cache.miss", key="a b", count=i)
        with wbpf.span("query"):
            wbpf.log("slow")
            wbpf.inject("host2")
        wbpf.metric("queue.length", 17)
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A segment that a process wrote, which is gone, and its trace ids."""
    folder = tmp_path_factory.mktemp("segments")
    ran = subprocess.run([sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, check=True)
    return folder / "host1/shop.seg", ran.stdout.split()


def test_dump_prints_every_record(run: Run, recorded: tuple[Path, list[str]]) -> None:
    file, ids = recorded
    ran = run("segment", "dump", file, "-o", "json")
    assert ran.status == 0 and ran.err == ""
    rows = json.loads(ran.out)
    assert [row["trace_id"] for row in rows] == [i for i in ids for _ in range(9)]
    kinds = "begin attributes event span_begin log breadcrumb span_end metric end "
    assert "".join(f"{row['kind']} " for row in rows) == kinds * 3
    begin, _, event, span, log, crumb, *_ = rows
    assert (event["name"], event["fields"], event["level"]) == (
        "cache.miss",
        {"key": "a b", "count": 0},
        "INFO",
    )
    assert event["span_id"] == begin["span_id"] == span["fields"]["parent"]
    assert log["fields"] == {"message": "slow"} and log["span_id"] == span["span_id"]
    assert crumb["fields"]["direction"] == "out" and len(crumb["fields"]["peer_host_id"]) == 16
    times = [row["time_unix_ns"] for row in rows if row["time_unix_ns"]]
    assert times == sorted(times)
    assert len({row["id"] for row in rows}) == 27


def test_dump_of_one_trace(run: Run, recorded: tuple[Path, list[str]]) -> None:
    file, ids = recorded
    rows = yaml.safe_load(run("segment", "dump", file, "--trace", ids[1], "-o", "yaml").out)
    assert {row["trace_id"] for row in rows} == {ids[1]} and len(rows) == 9
    ran = run("segment", "dump", file, "--trace", "0" * 31 + "1", "-o", "json")
    assert (ran.status, ran.out) == (0, "[]\n")
    assert run("segment", "dump", file, "--trace", "xyz").status == FormatError.exit_code


@pytest.mark.parametrize("limit", [0, 1, 4, 26, 100])
def test_dump_of_the_newest(run: Run, recorded: tuple[Path, list[str]], limit: int) -> None:
    file, _ = recorded
    every = json.loads(run("segment", "dump", file, "-o", "json").out)
    limited = json.loads(run("segment", "dump", file, "--limit", limit, "-o", "json").out)
    assert limited == every[max(len(every) - limit, 0) :]


def test_dump_as_columns(run: Run, recorded: tuple[Path, list[str]]) -> None:
    file, _ = recorded
    ran = run("segment", "dump", file, "--limit", 9, "--fields", "kind,name,fields")
    assert ran.out.splitlines()[:4] == [
        "KIND        NAME          FIELDS",
        "begin       order",
        "attributes  order         number=2",
        "event       cache.miss    key='a b' count=2",
    ]


def test_dump_of_a_service_that_lives(run: Run, tmp_path: Path) -> None:
    program = PROGRAM + "sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdin
        ids = [process.stdout.readline().strip() for _ in range(3)]
        file = tmp_path / "host1/shop.seg"
        rows = json.loads(run("segment", "dump", file, "-o", "json").out)
        facts = json.loads(run("segment", "info", file, "-o", "json").out)
        process.stdin.close()
    assert {row["trace_id"] for row in rows} == set(ids)
    assert [(p["pid"], p["alive"]) for p in facts["processes"]] == [(process.pid, True)]


def test_info(run: Run, recorded: tuple[Path, list[str]]) -> None:
    file, _ = recorded
    facts = json.loads(run("segment", "info", file, "-o", "json").out)
    assert (facts["host"], facts["service"]) == ("host1", "shop")
    assert facts["counters"]["resident_records"] == 27
    assert facts["processes"][0]["alive"] is False
    assert facts["horizon_s"] > 0
    text = run("segment", "info", file).out
    assert "shop on host1" in text and "27 records" in text


def test_files_that_are_no_segments(run: Run, tmp_path: Path) -> None:
    ran = run("segment", "dump", tmp_path / "none.seg")
    assert ran.status == SegmentError.exit_code and ran.out == ""
    (tmp_path / "text.seg").write_bytes(b"text" * 5000)
    ran = run("segment", "info", tmp_path / "text.seg")
    assert ran.status == FormatError.exit_code and "text.seg" in ran.err


@pytest.mark.parametrize("command", ["info", "dump"])
def test_a_folder_is_no_segment(run: Run, tmp_path: Path, command: str) -> None:
    ran = run("segment", command, tmp_path)
    assert ran.status == SegmentError.exit_code
    assert f"{tmp_path} is a folder" in ran.err and "name a .seg file" in ran.err


def test_a_damaged_segment_shows_what_it_can(
    run: Run, recorded: tuple[Path, list[str]], tmp_path: Path
) -> None:
    data = bytearray(recorded[0].read_bytes())
    at = data.index(b"queue.length")
    log = data.index(b"slow\0\0\0\0", at)
    data[log - 16 : log - 14] = b"\1\0"  # its length
    file = tmp_path / "damaged.seg"
    file.write_bytes(data)
    file.chmod(0o600)
    ran = run("segment", "dump", file, "-o", "json")
    assert ran.status == 0
    assert len(json.loads(ran.out)) < 27


def test_a_segment_that_is_cut_meanwhile_is_an_error(
    run: Run, recorded: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copy(recorded[0], tmp_path))
    whole = Watch.dump

    def dump(watch: Watch) -> Iterator[Piece]:
        os.truncate(copy, 4096)
        return whole(watch)

    monkeypatch.setattr(Watch, "dump", dump)
    ran = run("segment", "dump", copy)
    assert ran.status == SegmentError.exit_code
    assert "its file was cut while it was open" in ran.err and "Traceback" not in ran.err
