"""Headers that programs in C find."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbpf.build import compile_bpf

pytest.importorskip("ziglang", reason="needs a C compiler: install wbpf[build]")


def test_headers_of_the_c_library_go_with_those_of_the_kernel(tmp_path: Path) -> None:
    source = tmp_path / "headers.bpf.c"
    source.write_text(
        "#include <stdint.h>\n#include <sys/types.h>\n#include <linux/bpf.h>\n#include <linux/icmp.h>\n"
        "#include <arpa/inet.h>\n#include <string.h>\n"
        '_Static_assert(sizeof(size_t) == 8 && sizeof(time_t) == 8, "64 bits");\n'
        "struct in_addr address;\nint icmp = ICMP_ECHO, family = AF_INET6;\n"
    )
    assert compile_bpf(source, tmp_path / "headers.o").stat().st_size
