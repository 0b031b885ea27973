"""The runner of guests itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.boot import VmError, run_in_vm
from tests.vm.kernels import kernels

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("kernel", [one.name for one in kernels()])
def test_a_command_runs_on_every_kernel_of_the_list(kernel: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_text("from outside")
    script = "uname -r; cat /given/sub/file; echo; ip link add v0 type veth peer name v1 && echo veth; "
    script += "printf 'a\\0b\\n' >&2; exit 7"
    result = run_in_vm(kernel, ["sh", "-c", script], files={"given": tmp_path}, modules=["veth"])
    release, *rest = result.output.splitlines()
    assert kernel == "newest" or release.startswith(f"{kernel}.")
    assert rest == ["from outside", "veth", "a\0b"]
    assert result.status == 7


def test_a_guest_that_dies_is_told_with_what_its_kernel_said() -> None:
    with pytest.raises(VmError, match=r"twice:[^$]*sysrq triggered crash"):
        run_in_vm("5.10", ["sh", "-c", "echo c >/proc/sysrq-trigger"])


def test_a_guest_that_hangs_is_ended() -> None:
    with pytest.raises(VmError, match="did not finish"):
        run_in_vm("5.10", ["sleep", "1000"], timeout_s=6)
