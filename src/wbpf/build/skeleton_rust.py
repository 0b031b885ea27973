"""Skeletons in Rust."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wbpf.build.shapes import List, Record, Shape
from wbpf.build.skeleton import Skeleton, SkeletonMap, SkeletonVariable

_KEYWORDS = frozenset(
    """as async await box break const continue crate do dyn else enum extern final fn for if impl in let loop
    match mod move mut override priv pub ref return static struct super trait try type typeof unsafe use
    virtual where while yield abstract become macro unsized""".split()  # noqa: SIM905
)


def rust_skeleton(skeleton: Skeleton) -> str:
    """The module NAME.skel.rs."""
    # Whole paths: structures of the program may have the names of anything.
    lines = [f"// made by wbpf build from {skeleton.object}.bpf.c: do not edit", ""]
    for record in skeleton.records:
        lines += [*_record(record), ""]
    lines += [*_object(skeleton), ""]
    return "\n".join(lines)


def rust_type(shape: Shape) -> str:
    """`[u32; 4]`."""
    if isinstance(shape, List):
        return f"[{'u8' if shape.is_text else rust_type(shape.item)}; {shape.count}]"
    if isinstance(shape, Record):
        return camel(shape.name)
    if shape.is_float:
        return f"f{8 * shape.bytes}"
    # A bool of Rust must be 0 or 1, which nobody promises of the kernel's.
    return f"{'i' if shape.signed and not shape.is_bool else 'u'}{8 * shape.bytes}"


def _record(record: Record) -> Iterator[str]:
    name = camel(record.name)
    yield "#[repr(C)]"
    yield "#[derive(Clone, Copy)]"
    yield f"pub struct {name} {{"
    for part in record.parts:
        yield f"    {'' if part.is_padding else 'pub '}{_identifier(part.name)}: {rust_type(part.shape)},"
    yield "}"
    yield "// Padding has fields of its own, so the size says that all fields are where eBPF has them."
    yield f"const _: () = assert!(core::mem::size_of::<{name}>() == {record.bytes});"
    yield f"unsafe impl wbpf::Plain for {name} {{}}"


def _object(skeleton: Skeleton) -> Iterator[str]:
    name = camel(skeleton.name)
    maps = [(each, kind) for each in skeleton.maps if (kind := _map_type(each))]
    yield "/// The object's maps."
    yield "#[allow(dead_code)]"
    yield "pub struct Maps {"
    for each, kind in maps:
        yield f"    pub {_identifier(each.name)}: {kind},"
    yield "}"
    yield ""
    yield "/// The object's programs."
    yield "#[allow(dead_code)]"
    yield "pub struct Programs {"
    for program in skeleton.programs:
        yield f"    pub {_identifier(program)}: wbpf::Program,"
    yield "}"
    yield ""
    yield "#[allow(dead_code)]"
    yield f"pub struct {name} {{"
    yield "    pub object: wbpf::Object,"
    yield "    pub maps: Maps,"
    yield "    pub programs: Programs,"
    yield "}"
    yield ""
    yield "#[allow(dead_code)]"
    yield f"impl {name} {{"
    yield "    /// Opens the object; variables can be set until it is loaded."
    yield "    pub fn open() -> core::result::Result<Self, wbpf::Error> {"
    yield f'        let object = wbpf::Object::open("{skeleton.object}")?;'
    yield "        let maps = Maps {"
    for each, _ in maps:
        yield f'            {_identifier(each.name)}: object.map("{each.name}")?.into(),'
    yield "        };"
    yield "        let programs = Programs {"
    for program in skeleton.programs:
        yield f'            {_identifier(program)}: object.program("{program}")?,'
    yield "        };"
    yield "        Ok(Self { object, maps, programs })"
    yield "    }"
    yield ""
    yield "    pub fn load(&self) -> core::result::Result<(), wbpf::Error> {"
    yield "        self.object.load()"
    yield "    }"
    yield ""
    yield "    /// Attaches the programs that were loaded to what their sections name; not those with a `?`."
    yield "    pub fn attach(&self) -> core::result::Result<(), wbpf::Error> {"
    for program in skeleton.attached:
        yield f"        self.programs.{_identifier(program)}.attach_if_loaded()?;"
    yield "        Ok(())"
    yield "    }"
    yield ""
    yield "    /// Opens, loads and attaches."
    yield "    pub fn start() -> core::result::Result<Self, wbpf::Error> {"
    yield "        let this = Self::open()?;"
    yield "        this.load()?;"
    yield "        this.attach()?;"
    yield "        Ok(this)"
    yield "    }"
    for variable in skeleton.variables:
        yield from _variable(variable)
    yield "}"


def _map_type(each: SkeletonMap) -> str:
    if each.key is None or each.value is None:
        return "wbpf::Map<(), ()>"
    return f"wbpf::{'PerCpuMap' if each.per_cpu else 'Map'}<{rust_type(each.key)}, {rust_type(each.value)}>"


def _variable(each: SkeletonVariable) -> Iterator[str]:
    kind = rust_type(each.shape)
    yield ""
    yield f"    /// {'Before loading only.' if each.constant else 'At any time.'}"
    yield f"    pub fn set_{each.name}(&self, value: &{kind}) -> core::result::Result<(), wbpf::Error> {{"
    yield f'        self.object.set("{each.name}", value)'
    yield "    }"
    yield ""
    yield f"    pub fn get_{each.name}(&self) -> core::result::Result<{kind}, wbpf::Error> {{"
    yield f'        self.object.get("{each.name}")'
    yield "    }"


def camel(name: str) -> str:
    """`exec_event` as ExecEvent."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"_+", name) if part) or "Unnamed"


def _identifier(name: str) -> str:
    return f"r#{name}" if name in _KEYWORDS and name not in ("super", "crate") else name
