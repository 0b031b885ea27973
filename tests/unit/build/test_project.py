from __future__ import annotations

from pathlib import Path

import pytest

from wbpf.build.project import Project, params_of
from wbpf.errors import ConfigError
from wbpf.wasm.params import Choice, Param

WHOLE = """
name = "tool"
version = "1.2.0"
description = "what it does"

[params.min-us]
type = "duration"
default = "10ms"
help = "shorter ones are left out"
variable = "min_ns"

[params.protocol]
type = "enum"
default = "tcp"
choices = { tcp = ["on_tcp"], udp = ["on_udp", "on_udp6"] }

[params.names]
type = "enum"
choices = ["a", "b"]

[capabilities]
fs = ["/proc:ro"]
memory_mib = 16

[events.open]
struct = "event"
[events.open.fields]
ret = { kind = "int", help = "what open returned" }
"""


def project(folder: Path, text: str, *files: str) -> Project:
    (folder / "wbpf.toml").write_text(text)
    for name in files or ("tool.bpf.c", "main.c"):
        (folder / name).write_text("")
    return Project.load(folder)


def test_all_of_it(tmp_path: Path) -> None:
    found = project(tmp_path, WHOLE)
    assert (found.language, list(found.objects)) == ("c", ["tool"])
    assert params_of(found.spec) == (
        Param("min-us", "duration", "10ms", "shorter ones are left out", "min_ns"),
        Param(
            "protocol",
            "enum",
            "tcp",
            choices=(Choice("tcp", ("on_tcp",)), Choice("udp", ("on_udp", "on_udp6"))),
        ),
        Param("names", "enum", choices=(Choice("a"), Choice("b"))),
    )
    assert found.spec.capabilities.fs == ("/proc:ro",)
    assert found.spec.events["open"].fields["ret"].help == "what open returned"


@pytest.mark.parametrize(
    ("files", "language"),
    [(("main.c",), "c"), (("Cargo.toml",), "rust"), (("go.mod", "main.go"), "go")],
)
def test_the_language_is_seen(tmp_path: Path, files: tuple[str, ...], language: str) -> None:
    assert project(tmp_path, 'name = "a"', "a.bpf.c", "b.bpf.c", *files).language == language
    assert list(Project.load(tmp_path).objects) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name =", "wbpf.toml can't be read: Invalid value"),
        ("", "wbpf.toml: name: is missing"),
        ("name = 5", "wbpf.toml: name: must be a text, not 5"),
        ('name = "A"', "wbpf.toml: name: must be lower-case"),
        ('name = "a"\nparam = 1', "wbpf.toml: param: is not known; did you mean 'params'?"),
        ('name = "a"\n[params.p]', "wbpf.toml: params.p.type: is missing"),
        ('name = "a"\n[params.p]\ntype = "u32"', "wbpf.toml: params.p.type: must be one of bool, int, uint"),
        ('name = "a"\n[params.p]\ntype = "uint"\ndefault = -1', "wbpf.toml: params.p.default: it must be at"),
        (
            'name = "a"\n[params.p]\ntype = "int"\nhelpp = ""',
            "params.p.helpp: is not known; did you mean 'help'",
        ),
        ('name = "a"\n[params.P]\ntype = "int"', "wbpf.toml: params.P.name: must be lower-case"),
        ('name = "a"\n[capabilities]\nnetwork = true', "capabilities.network: must be a list, not True"),
        ('name = "a"\n[events.e.fields.f]\nkind = "ipv4"', "events.e.fields.f.kind: must be one of uint"),
        ('name = "a"\nlanguage = "zig"', "language: must be one of c, rust, go"),
        ('name = "a"\nobjects = ["b.bpf.c"]', "objects: there is no .*b.bpf.c"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        project(tmp_path, text)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("tool.bpf.c",),
            "has no control program: one of these is wanted: main.c, Cargo.toml, go.mod and main.go",
        ),
        (("tool.bpf.c", "main.c", "Cargo.toml"), "it has sources of c and rust"),
        (("main.c",), "has no eBPF program"),
    ],
)
def test_sources_that_are_missing(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        project(tmp_path, 'name = "tool"', *files)


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no project") as caught:
        Project.load(tmp_path)
    assert caught.value.hint == "make one: wbpf new NAME"
