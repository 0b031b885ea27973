"""Every command in docs/traces.md and docs/export.md does what is shown there.

UPDATE_GOLDEN=1 puts into the pages what the commands print.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.pooling import EARLIER, earlier_sources, pool_sources, stale_read
from tests.unit.records.building import EPOCH_NS
from tests.unit.records.cluster import part
from tests.unit.store.filling import put_sources
from wbpf.records import Source, Status
from wbpf.store import Store

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def example_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store that the pages speak of, in the directory in which their commands run."""
    monkeypatch.chdir(tmp_path)
    with Store.open("traces.db") as store:
        put_sources(store, [*pool_sources(), *earlier_sources()])
        # host3 was asked, but had nothing.
        sizes = _sizes(pool_sources())
        parts = [replace(part(f"host{i}"), records=sizes[i][0], bytes=sizes[i][1]) for i in (1, 2)]
        store.conclude(stale_read(*parts))
        sizes = _sizes(earlier_sources())
        earlier = stale_read(replace(part("host2"), records=sizes[2][0], bytes=sizes[2][1]))
        store.conclude(replace(earlier, trace_id=EARLIER, laterals=()))
        died = (
            part("host1"),
            part("host3", Status.PARTIAL, "host host3 died at 07:53:19.6"),
            part("host4", Status.UNKNOWN),
        )
        store.conclude(
            replace(
                stale_read(*died),
                trace_id=bytes.fromhex("ab" * 16),
                trigger_name="slow",
                trigger_value=31.7,
                fired_unix_ns=EPOCH_NS - 3600 * 10**9,
                group_id=b"",
                laterals=(),
            )
        )
    return tmp_path


def _sizes(sources: list[Source]) -> dict[int, tuple[int, int]]:
    from wbpf.records import decode_run, parse_schemas

    return {
        int(source.host.name[-1]): (
            sum(len(decode_run(p.data, parse_schemas(source.descriptors))) for p in source.pieces),
            sum(len(p.data) for p in source.pieces),
        )
        for source in sources
    }


@pytest.mark.parametrize("page", ["traces.md", "export.md"])
def test_commands_print_what_the_page_shows(page: str, run: Run, example_store: Path) -> None:
    text = (DOCS / page).read_text()
    ran = 0

    def really(match: re.Match[str]) -> str:
        nonlocal ran
        said = ""
        for line in match[1].splitlines(keepends=True):
            if not line.startswith("$ "):
                continue
            words = shlex.split(line[2:])
            assert words[0] == "wbpf"
            done = run(*words[1:])
            assert done.status == 0 or done.err, line
            said += line + done.out + done.err
            ran += 1
        return f"```console\n{said}```"

    actual = BLOCK.sub(really, text)
    assert ran
    if os.environ.get("UPDATE_GOLDEN"):
        (DOCS / page).write_text(actual)
    assert actual == (DOCS / page).read_text()
