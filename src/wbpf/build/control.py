"""Control programs in C, Rust and Go to WebAssembly."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from wbpf.build.installed import sdk_folder
from wbpf.build.project import Project
from wbpf.build.zig import compile_c
from wbpf.errors import BuildError

#: -s: without DWARF. The linker's default stack has 16 MiB.
_C_FLAGS = (
    "-target", "wasm32-wasi", "-O2", "-s", "-Wall", "-Wextra", "-Wl,-z,stack-size=262144",
    "-Wl,--export=wbpf_abi",
)  # fmt: skip
#: The names of one target: since Rust 1.78, and before.
_RUST_TARGETS = ("wasm32-wasip1", "wasm32-wasi")
_ENVIRONMENT = {
    "go": {"GOOS": "wasip1", "GOARCH": "wasm"},
    "cargo": {"CARGO_PROFILE_RELEASE_STRIP": "true", "CARGO_PROFILE_RELEASE_PANIC": "abort"},
}


def compile_control(project: Project, folder: Path) -> Path:
    """Compile a project's control program; returns the module, without sections of wBPF.

    Args:
        project: it; its skeletons are there.
        folder: for what is made.

    Raises:
        BuildError: a compiler is missing, or refuses the source.
    """
    out = folder / f"{project.spec.name}.control.wasm"
    match project.language:
        case "c":
            headers = sdk_folder("c") / "include"
            flags = [*_C_FLAGS, f"-I{folder}", f"-I{project.folder}", f"-I{headers}"]
            sources = sorted(project.folder.glob("*.c"))
            compile_c([source for source in sources if not source.name.endswith(".bpf.c")], out, flags)
        case "rust":
            _link_sdk(project, folder)
            _compile_rust(project, folder, out)
        case "go":
            _link_sdk(project, folder)
            _run(
                ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(out.resolve()), "."],
                project,
                "Go 1.24",
            )
    return out


def rust_target() -> str | None:
    """The name of the WASI target that this Rust can compile for; None: there is none."""
    rustc = shutil.which("rustc")
    for target in _RUST_TARGETS if rustc else ():
        command = [str(rustc), "--print", "target-libdir", "--target", target]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and Path(done.stdout.strip()).is_dir():
            return target
    return None


def _compile_rust(project: Project, folder: Path, out: Path) -> None:
    if shutil.which("cargo") is None:
        raise _missing("cargo", "Rust")
    target = rust_target()
    if target is None:
        why = "this Rust has no standard library for WebAssembly"
        raise BuildError(
            "the control program can't be compiled", why, f"rustup target add {_RUST_TARGETS[0]}"
        )
    made = (folder / "cargo").resolve()
    command = ["cargo", "build", "--release", "--quiet", "--target", target, "--target-dir", str(made)]
    _run(command, project, "Rust")
    modules = sorted((made / target / "release").glob("*.wasm"))
    if len(modules) != 1:
        names = ", ".join(module.name for module in modules) or "none"
        raise BuildError("the control program can't be found", f"cargo made {names}; one is wanted")
    shutil.copyfile(modules[0], out)


def _link_sdk(project: Project, folder: Path) -> None:
    """Put the SDK where Cargo.toml or go.mod names it: build/sdk."""
    link, target = folder / "sdk", sdk_folder(project.language)
    if link.is_symlink() and link.readlink() != target:
        link.unlink()
    if not link.is_symlink():
        link.symlink_to(target)


def _run(command: list[str], project: Project, needs: str) -> None:
    if shutil.which(command[0]) is None:
        raise _missing(command[0], needs)
    environment = os.environ | _ENVIRONMENT[command[0]]
    done = subprocess.run(
        command, cwd=project.folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        log = done.stderr or done.stdout
        lines = [line for line in log.splitlines() if line and not line.startswith("#")]
        first = next((line for line in lines if "error" in line or ".go:" in line), lines[0] if lines else "")
        error = BuildError("the control program can't be compiled", first.strip())
        error.log = log
        raise error


def _missing(name: str, needs: str) -> BuildError:
    return BuildError(f"there is no {name}", f"the control program needs {needs}", f"install {needs}")
