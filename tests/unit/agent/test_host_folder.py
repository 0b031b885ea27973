from __future__ import annotations

from pathlib import Path

import pytest

from wbpf.agent.host import HostFolder
from wbpf.errors import AccessError


@pytest.mark.parametrize("open_to_all", [".", "h1"])
def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path, open_to_all: str) -> None:
    (tmp_path / "hosts" / "h1").mkdir(parents=True)
    (tmp_path / "hosts" / open_to_all).chmod(0o777)
    with pytest.raises(AccessError, match="everybody may write to it"):
        HostFolder(tmp_path / "hosts" / "h1")
    (tmp_path / "hosts" / open_to_all).chmod(0o770)
    assert HostFolder(tmp_path / "hosts" / "h1").incarnation
