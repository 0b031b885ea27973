"""Projects in C, Rust and Go build to modules that say what they need; what is wrong is named."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.languages import NAMES, demand
from wbpf.bpf.btf.embedded import embedded_kernels
from wbpf.build import build, new_project
from wbpf.cli import main
from wbpf.errors import BuildError, ConfigError
from wbpf.wasm.manifest import Manifest
from wbpf.wasm.params import Param
from wbpf.wasm.sections import BTF, objects, read_sections


@pytest.fixture
def tool(compiler: None, tmp_path: Path) -> Path:
    """A new project in C."""
    new_project(tmp_path / "my-tool", "c")
    return tmp_path / "my-tool"


@pytest.mark.parametrize("name", NAMES)
def test_a_new_project_builds(
    compiler: None, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    language = demand(name, monkeypatch)
    new_project(tmp_path / "my-tool", language)
    result = build(tmp_path / "my-tool")
    module = result.path.read_bytes()
    assert result.path == tmp_path / "my-tool/build/my-tool.wasm"
    sections = read_sections(module)
    assert Manifest.of(sections) == result.manifest
    assert objects(sections) == {"my-tool": result.objects["my-tool"].read_bytes()}
    exported = b"\x08wbpf_abi\x00" in module  # Go's functions can't be called before it has started
    assert exported == (language != "go")
    manifest = result.manifest
    help_text = "only users with this id or a higher one"
    assert manifest.params == (Param("min-uid", "uint", 0, help_text, "min_uid"),)
    assert manifest.capabilities.programs == ("tracepoint",)
    assert manifest.capabilities.attach == ("tp/sched/sched_process_exec",)
    assert [(field.name, field.offset, field.bytes, field.kind) for field in manifest.events[0].fields] == [
        ("time", 0, 8, "time"),
        ("pid", 8, 4, "uint"),
        ("uid", 12, 4, "uint"),
        ("comm", 16, 16, "char[]"),
    ]


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "wbpf.toml",
            '"min_uid"',
            '"min_iud"',
            r"params.min-uid.variable: .* 'min_iud'\n  try: did you",
        ),
        (
            "wbpf.toml",
            '"exec_event"',
            '"exec"',
            r"events.exec: no eBPF object has a struct 'exec'; they have",
        ),
        (
            "wbpf.toml",
            "comm =",
            "command =",
            r"events.exec.fields.command: struct exec_event has no such",
        ),
        ("wbpf.toml", 'kind = "time"', 'kind = "ip4"', r"events\[0\].fields\[0\].bytes: can't be 8 for ip4"),
        ("wbpf.toml", "default = 0", 'default = 0\nprograms = ["on"]', r"params.min-uid.programs: .*'on'"),
    ],
)
def test_what_does_not_fit_the_programs(tool: Path, file: str, old: str, new: str, message: str) -> None:
    change(tool / file, old, new)
    with pytest.raises(ConfigError, match=message):
        build(tool)


def test_errors_of_both_compilers(tool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(tool / "main.c", "return wbpf_failed", "return wbpf_faild")
    assert main(["build", str(tool)]) == BuildError.exit_code
    error = capsys.readouterr().err
    assert re.search(r"main.c:8:\d+: .*'wbpf_faild'", error)
    assert "wbpf build -v shows" in error
    assert main(["build", str(tool), "-v"]) == BuildError.exit_code
    assert re.search(r"main.c:8:\d+: error: .*'wbpf_faild'", capsys.readouterr().err)
    change(tool / "my-tool.bpf.c", "event->pid", "event->pdi")
    assert main(["build", str(tool)]) == BuildError.exit_code
    assert re.search(r"my-tool.bpf.c:\d+:\d+: no member named 'pdi'", capsys.readouterr().err)


def test_several_objects_in_one_module(tool: Path) -> None:
    shutil.copy(tool / "my-tool.bpf.c", tool / "other.bpf.c")
    result = build(tool)
    assert list(objects(read_sections(result.path.read_bytes()))) == ["my-tool", "other"]
    assert [path.name for path in result.skeletons] == ["my-tool.skel.h", "other.skel.h"]


def test_reduced_btf_is_embedded(tool: Path, tmp_path: Path) -> None:
    kernel = Path("/sys/kernel/btf/vmlinux")
    if not kernel.exists():
        pytest.skip("needs kernel BTF: no /sys/kernel/btf/vmlinux")
    (tmp_path / "arm64").mkdir()
    for name in ("arm64/6.1.0.btf", "5.10.0.btf"):
        shutil.copy(kernel, tmp_path / name)
    change(
        tool / "my-tool.bpf.c",
        "on_exec(void *ctx)",
        "on_exec(struct trace_event_raw_sched_process_exec *ctx)",
    )
    change(tool / "my-tool.bpf.c", "event->pid = ", "event->pid = ctx->old_pid + ")
    command = [
        "build",
        str(tool),
        "--min-btf",
        str(tmp_path / "arm64"),
        "--min-btf",
        str(tmp_path / "5.10.0.btf"),
    ]
    assert main(command) == 0
    section = read_sections((tool / "build/my-tool.wasm").read_bytes())[BTF]
    assert embedded_kernels(section) == [("arm64", "6.1.0"), ("x86_64", "5.10.0")]
    assert len(section) < 20_000 < kernel.stat().st_size
    assert main([*command, "--min-btf", str(tmp_path / "nowhere")]) == BuildError.exit_code


def test_vmlinux_h_of_a_kernel(tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made from BTF, once; a file of it can be given, for hosts without."""
    kernel = Path("/sys/kernel/btf/vmlinux")
    if not kernel.exists():
        pytest.skip("needs kernel BTF: no /sys/kernel/btf/vmlinux")
    monkeypatch.setenv("WBPF_CACHE_DIR", str(tmp_path / "cache"))
    change(tool / "my-tool.bpf.c", "<wbpf/vmlinux.h>", '"vmlinux.h"')
    given = tmp_path / "kernel.btf"
    shutil.copy(kernel, given)
    build(tool, vmlinux=str(given))
    (header,) = (tmp_path / "cache/vmlinux").glob("*/vmlinux.h")
    made = header.stat().st_mtime_ns
    build(tool)
    assert header.stat().st_mtime_ns == made, "the same BTF makes the same header"


def test_a_skeleton_of_an_object(tool: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = build(tool).objects["my-tool"]
    for language, word in (
        ("c", "struct my_tool {"),
        ("rust", "pub struct MyTool {"),
        ("go", "type MyTool struct {"),
    ):
        assert main(["gen", "skeleton", str(made), "--lang", language]) == 0
        assert word in capsys.readouterr().out
    assert main(["gen", "skeleton", str(tmp_path / "none.o")]) == ConfigError.exit_code


def test_generated_go_is_formatted_as_go_wants(
    tool: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if shutil.which("gofmt") is None:
        pytest.skip("needs Go 1.24: no gofmt on PATH")
    main(["gen", "skeleton", str(build(tool).objects["my-tool"]), "--lang", "go"])
    (tmp_path / "skeleton.go").write_text(capsys.readouterr().out)
    done = subprocess.run(
        ["gofmt", "-e", str(tmp_path / "skeleton.go")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_build_that_takes_long_says_why(
    tool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "the first build for WebAssembly compiles its C library too"
    monkeypatch.setattr("wbpf.cli.build._PATIENCE_S", 0.01)
    assert main(["build", str(tool)]) == 0
    assert said in capsys.readouterr().err
    monkeypatch.setattr("wbpf.cli.build._PATIENCE_S", 600.0)
    assert main(["build", str(tool)]) == 0
    assert said not in capsys.readouterr().err
