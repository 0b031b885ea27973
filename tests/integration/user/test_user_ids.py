"""bpf_get_ns_current_pid_tgid: the numbers in a pid namespace, if it is the thread's own."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path

import pytest

from tests.integration.user.conftest import HERE
from wbpf.bpf import Object, features
from wbpf.bpf.user.objects import UserObject
from wbpf.build import compile_bpf


@pytest.mark.parametrize("backend", ["kernel", "user"])
def test_ids_in_the_own_namespace_alone(backend: str, tmp_path: Path) -> None:
    if backend == "kernel":
        for have in (features.have_libbpf, features.have_privileges, features.have_kernel_btf):
            answer = have()
            if not answer:
                pytest.skip(f"needs {answer.what}: {answer.why}")
    elf = compile_bpf(HERE / "ids.bpf.c", tmp_path / "ids.bpf.o")
    own = Path("/proc/self/ns/pid").stat()
    with Object.open(elf) if backend == "kernel" else UserObject.open(elf) as one:
        one.variables["device"], one.variables["inode"] = own.st_dev, own.st_ino
        one.load()
        one.programs["ids"].test_run(context=bytes(96))
        words = memoryview(one.variables["info"]).cast("B")  # type: ignore[arg-type]
        assert struct.unpack("<2I", words) == (threading.get_native_id(), os.getpid())
        assert one.variables["right"] == 0
        assert one.variables["wrong"] == one.variables["short_one"] == -errno.EINVAL
        left = memoryview(one.variables["left"]).cast("B")  # type: ignore[arg-type]
        assert bytes(left) == bytes(8), "what is not known is cleared"
