"""Settings of the kernel that programs read."""

from __future__ import annotations

import pytest

from tests.integration.bpf.conftest import Compiled
from wbpf.bpf import Object
from wbpf.bpf.object_file import ObjectFile
from wbpf.bpf.user.kconfig import kconfig_bytes
from wbpf.bpf.user.objects import UserObject
from wbpf.errors import BpfError

pytest.importorskip("llvmlite", reason="needs llvmlite: install wbpf[user]")
_NAMES = ("version", "hz", "syscall", "veth", "net", "unheard", "first")


def test_the_kernels_settings(compiled: Compiled) -> None:
    path = compiled("configured")
    seen = []
    for kind in (Object, UserObject):
        with kind.open(path) as one:
            one.load()
            assert one.programs["read_config"].test_run(bytes(64)).result == 2
            seen.append([one.variables[name] for name in _NAMES])
    assert seen[0] == seen[1]
    assert isinstance(seen[1][0], int) and seen[1][0] >= 5 << 16


def test_settings(compiled: Compiled) -> None:
    file = ObjectFile.parse(compiled("configured").read_bytes())
    assert file.btf is not None
    config = {
        "CONFIG_HZ": "250",
        "CONFIG_BPF_SYSCALL": "y",
        "CONFIG_VETH": "m",
        "CONFIG_NET": "y",
        "CONFIG_DEFAULT_HOSTNAME": '"(none)"',
    }
    values = kconfig_bytes(file.kconfig, file.btf, config, "6.1.300-13-amd64")
    found = {one.name: values[one.offset : one.offset + one.bytes] for one in file.kconfig}
    assert found["LINUX_KERNEL_VERSION"] == (6 << 16 | 1 << 8 | 255).to_bytes(4, "little")
    assert found["CONFIG_HZ"] == (250).to_bytes(4, "little")
    assert found["CONFIG_BPF_SYSCALL"] == b"\1"
    assert found["CONFIG_VETH"] == (2).to_bytes(4, "little")
    assert found["CONFIG_NET"] == b"y"
    assert found["CONFIG_DEFAULT_HOSTNAME"] == b"(none)".ljust(16, b"\0")
    assert found["CONFIG_WBPF_NEVER_HEARD_OF"] == bytes(4)
    with pytest.raises(BpfError, match="'CONFIG_HZ' can't be resolved: its value, many, is no number"):
        kconfig_bytes(file.kconfig, file.btf, {"CONFIG_HZ": "many"})
