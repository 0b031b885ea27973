"""Daemons beside others of their kind, and what people see of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.gather.cluster import Cluster
from wbpf.collector import Collector, CollectorSpec
from wbpf.errors import ConfigError


def test_a_second_collector_of_a_store_is_refused(cluster: Cluster) -> None:
    holder = cluster.tree.children["collector"].pid
    with pytest.raises(ConfigError, match="another collector writes to") as refused:
        Collector(CollectorSpec("127.0.0.1:0", cluster.tree.store)).start()
    assert f"process {holder} holds" in refused.value.why


def test_a_store_is_free_once_its_collector_was_killed(tmp_path: Path) -> None:
    for _ in range(2):
        with Collector(CollectorSpec("127.0.0.1:0", tmp_path / "traces.db")):
            pass


def test_a_port_that_is_taken_is_one_error_of_ours(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wbpf.cli", "collector", "--store", str(tmp_path / "traces.db")]
    taken = cluster.tree.collector_address
    ended = subprocess.run([*command, "--listen", taken], capture_output=True, text=True, check=False)
    assert ended.returncode != 0 and taken in ended.stderr
    assert "chttp2" not in ended.stderr and "E0000" not in ended.stderr, "nothing from inside of gRPC"


def test_daemons_have_names(cluster: Cluster) -> None:
    names = {
        name: Path(f"/proc/{child.pid}/comm").read_text().strip()
        for name, child in cluster.tree.children.items()
    }
    assert names["agent a"] == "wbpf-agent" and names["collector"] == "wbpf-collector"
    assert names["coordinator"] == "wbpf-coordinator"[:15]
