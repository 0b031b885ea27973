"""From a project to one WebAssembly module."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wbpf.build.compile import compile_bpf
from wbpf.build.control import compile_control
from wbpf.build.events import event_types
from wbpf.build.headers import vmlinux_header
from wbpf.build.min_btf import min_btf as reduced_btf
from wbpf.build.needs import object_needs
from wbpf.build.project import FILE, Project, params_of
from wbpf.build.shapes import Record
from wbpf.build.skeleton import Skeleton, generate
from wbpf.errors import BuildError, ConfigError
from wbpf.wasm.manifest import Capabilities, Manifest, ObjectNeeds
from wbpf.wasm.sections import AOT_PREFIX, BTF, MANIFEST, OBJECT_PREFIX, with_sections

#: Folder of a project with what is made; nothing in it has to be kept.
OUT = "build"
_SUFFIX = {"c": ".skel.h", "rust": ".skel.rs", "go": ".skel.go"}


@dataclass(frozen=True)
class BuildResult:
    """A module that was built.

    Args:
        path: of the file.
        objects: its eBPF objects, by name.
        skeletons: the skeletons that were generated.
    """

    path: Path
    manifest: Manifest
    objects: dict[str, Path]
    skeletons: tuple[Path, ...]


def build(
    project: Project | Path,
    out: Path | None = None,
    *,
    vmlinux: str | None = None,
    min_btf: Sequence[Path] = (),
    aot: Sequence[str] = (),
) -> BuildResult:
    """Build a project.

    Args:
        project: it, or its folder.
        out: the module; None for NAME.wasm in the project's `build` folder.
        vmlinux: BTF for `vmlinux.h`: a file, or an archive's folder or URL; None for the running kernel's.
        min_btf: kernels whose BTF is embedded, reduced; see `wbpf.build.min_btf`.
        aot: architectures that its programs are translated for, for user space; see docs/user-backend.md.

    Raises:
        ConfigError: wbpf.toml can't be used.
        BuildError: a compiler is missing, or refuses a source.
        BpfError: a program can't be translated for user space.
    """
    if isinstance(project, Path):
        project = Project.load(project)
    folder = project.folder / OUT
    folder.mkdir(exist_ok=True)
    objects: dict[str, Path] = {}
    skeletons: list[Path] = []
    records: dict[str, Record] = {}
    for name, source in project.objects.items():
        header = vmlinux_header(vmlinux) if _wants_vmlinux(source) else None
        objects[name] = compile_bpf(source, folder / f"{name}.bpf.o", *project.spec.flags, vmlinux=header)
        elf = objects[name].read_bytes()
        for record in Skeleton.of(name, elf).records:
            records.setdefault(record.name, record)
        place = project.folder if project.language == "go" else folder
        skeleton = place / f"{name}{_SUFFIX[project.language]}"
        text = generate(name, elf, project.language)
        if not skeleton.exists() or skeleton.read_text() != text:
            skeleton.write_text(text)
        skeletons.append(skeleton)
    manifest = manifest_of(project, objects, tuple(records.values()))
    wasm = compile_control(project, folder)
    contents = {f"{OBJECT_PREFIX}{name}": path.read_bytes() for name, path in objects.items()}
    contents[MANIFEST] = manifest.to_json()
    if min_btf:
        contents[BTF] = reduced_btf(min_btf, [path.read_bytes() for path in objects.values()])
    contents |= _translated(objects, manifest, aot)
    path = out or folder / f"{project.spec.name}.wasm"
    try:
        path.write_bytes(with_sections(wasm.read_bytes(), contents))
    except OSError as error:
        raise BuildError(f"{path} can't be written", error.strerror or str(error)) from error
    return BuildResult(path, manifest, objects, tuple(skeletons))


def _translated(objects: dict[str, Path], manifest: Manifest, aot: Sequence[str]) -> dict[str, bytes]:
    """Sections with the programs as they are with the parameters' defaults, for user space."""
    if not aot:
        return {}
    from wbpf.bpf.user.objects import UserObject
    from wbpf.wasm.settled import Settled

    settled = Settled.of(manifest, manifest.name, {}, complete=False)
    sections = {f"{AOT_PREFIX}{arch}": b"" for arch in aot}
    for name, path in objects.items():
        with UserObject(path.read_bytes(), name) as one:
            settled.apply(one)
            for arch, translated in one.translate(aot).items():
                sections[f"{AOT_PREFIX}{arch}"] += translated
    return sections


def manifest_of(project: Project, objects: dict[str, Path], records: tuple[Record, ...]) -> Manifest:
    """The manifest of a project whose eBPF objects are compiled.

    Raises:
        ConfigError: wbpf.toml names programs, variables or structures that the objects don't have.
    """
    spec, file = project.spec, str(project.folder / FILE)
    needs = tuple(object_needs(name, path.read_bytes()) for name, path in objects.items())
    params = params_of(spec)
    _check_names(file, project, objects, needs)
    asked = spec.capabilities
    programs = [program for each in needs for program in each.programs]
    capabilities = Capabilities(
        programs=_unique(program.type for program in programs) if asked.programs is None else asked.programs,
        attach=_unique(program.section.removeprefix("?") for program in programs)
        if asked.attach is None
        else asked.attach,
        fs=asked.fs,
        network=asked.network,
        env=asked.env,
        memory_mib=asked.memory_mib,
        deadline_ms=asked.deadline_ms,
    )
    manifest = Manifest(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        params=params,
        capabilities=capabilities,
        objects=needs,
        events=event_types(file, spec.events, records),
    )
    try:
        manifest.validate()
    except ValueError as error:
        where, _, rule = str(error).partition(": ")
        raise ConfigError(f"{file}: {where}", rule) from None
    return manifest


def _check_names(
    file: str, project: Project, objects: dict[str, Path], needs: tuple[ObjectNeeds, ...]
) -> None:
    """Programs and variables that parameters name are there."""
    programs = [program.name for each in needs for program in each.programs]
    skeletons = [Skeleton.of(name, path.read_bytes()) for name, path in objects.items()]
    constants = [each.name for skeleton in skeletons for each in skeleton.variables if each.constant]
    for param in params_of(project.spec):
        named = [*param.programs, *(name for choice in param.choices for name in choice.programs)]
        _demand_known(f"{file}: params.{param.name}.programs", named, programs, "program")
        if param.variable is not None:
            where = f"{file}: params.{param.name}.variable"
            _demand_known(where, [param.variable], constants, "constant: const volatile")


def _demand_known(where: str, names: list[str], known: list[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise ConfigError(where, f"no eBPF object has a {what} {name!r}", hint)


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _wants_vmlinux(source: Path) -> bool:
    """Whether it includes a vmlinux.h that is not its own."""
    wanted = re.search(r'^\s*#\s*include\s*["<]vmlinux\.h[">]', source.read_text(errors="replace"), re.M)
    return bool(wanted) and not (source.parent / "vmlinux.h").exists()
