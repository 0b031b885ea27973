"""Skeletons in C."""

from __future__ import annotations

from collections.abc import Iterator

from wbpf.build.shapes import List, Number, Record, Shape
from wbpf.build.skeleton import Skeleton, SkeletonMap, SkeletonVariable


def c_skeleton(skeleton: Skeleton) -> str:
    """The header NAME.skel.h."""
    name = skeleton.name
    guard = f"{name.upper()}_SKEL_H"
    lines = [f"/* made by wbpf build from {skeleton.object}.bpf.c: do not edit */"]
    lines += [f"#ifndef {guard}", f"#define {guard}", "", "#include <wbpf.h>", ""]
    for record in skeleton.records:
        lines += [*_record(record), ""]
    for each in skeleton.maps:
        if each.per_cpu and each.value:
            lines += [*_slot(name, each), ""]
    lines += [*_object(skeleton), ""]
    for each in skeleton.maps:
        lines += _map(name, each)
    for variable in skeleton.variables:
        lines += _variable(name, variable)
    return "\n".join([*lines, "#endif", ""])


def declare(shape: Shape, name: str) -> str:
    """`uint32_t name[4]`."""
    if isinstance(shape, List):
        if shape.is_text:
            return f"char {name}[{shape.count}]"
        return declare(shape.item, f"{name}[{shape.count}]")
    return f"{_type(shape)} {name}"


def _type(shape: Number | Record) -> str:
    if isinstance(shape, Record):
        return f"struct {shape.name}"
    if shape.is_float:
        return "float" if shape.bytes == 4 else "double"
    if shape.is_bool:
        return "bool"
    return f"{'' if shape.signed else 'u'}int{8 * shape.bytes}_t"


def _record(record: Record) -> Iterator[str]:
    yield f"struct {record.name} {{"
    for part in record.parts:
        yield f"    {declare(part.shape, part.name)};"
    yield "};"
    yield f'_Static_assert(sizeof(struct {record.name}) == {record.bytes}, "as in eBPF");'
    for part in record.parts:
        place = f"offsetof(struct {record.name}, {part.name})"
        yield f'_Static_assert({place} == {part.offset}, "as in eBPF");'


def _slot(name: str, each: SkeletonMap) -> Iterator[str]:
    assert each.value is not None
    yield f"/* A CPU's value of {each.name}: lookups fill wbpf_map_cpus() of them. */"
    yield f"struct {name}_{each.name}_slot {{"
    yield f"    _Alignas(8) {declare(each.value, 'value')};"
    yield "};"
    size = -(-each.value.bytes // 8) * 8
    yield f'_Static_assert(sizeof(struct {name}_{each.name}_slot) == {size}, "as the kernel has it");'


def _object(skeleton: Skeleton) -> Iterator[str]:
    name = skeleton.name
    yield f"struct {name} {{"
    yield "    wbpf_object object;"
    for kind, names in (("map", [each.name for each in skeleton.maps]), ("program", skeleton.programs)):
        if names:
            yield "    struct {"
            yield f"        wbpf_{kind} {', '.join(names)};"
            yield f"    }} {kind}s;"
    if skeleton.programs:
        yield "    struct {"
        yield f"        wbpf_link {', '.join(skeleton.programs)};"
        yield "    } links;"
    yield "};"
    yield ""
    yield "/* Opens the object; variables can be set until it is loaded. */"
    yield f"WBPF_SDK int {name}_open(struct {name} *self)"
    yield "{"
    yield "    memset(self, 0, sizeof *self);"
    yield f'    self->object = wbpf_object_open("{skeleton.object}");'
    yield "    if (self->object < 0)"
    yield "        return self->object;"
    for kind, names in (("map", [each.name for each in skeleton.maps]), ("program", skeleton.programs)):
        for each in names:
            yield f'    if ((self->{kind}s.{each} = wbpf_{kind}_find(self->object, "{each}")) < 0)'
            yield f"        return self->{kind}s.{each};"
    yield "    return 0;"
    yield "}"
    yield ""
    yield f"WBPF_SDK int {name}_load(struct {name} *self)"
    yield "{"
    yield "    return wbpf_object_load(self->object);"
    yield "}"
    yield ""
    yield "/* Attaches the programs that were loaded to what their sections name; not those with a `?`. */"
    yield f"WBPF_SDK int {name}_attach(struct {name} *self)"
    yield "{"
    for program in skeleton.attached:
        link = f"self->links.{program}"
        yield f"    {link} = wbpf_program_attach(self->programs.{program}, NULL);"
        yield f"    if ({link} < 0 && {link} != -WBPF_ENOTSUP)"
        yield f"        return {link};"
    yield "    return 0;"
    yield "}"
    yield ""
    yield "/* Opens, loads and attaches. */"
    yield f"WBPF_SDK int {name}_start(struct {name} *self)"
    yield "{"
    yield f"    int error = {name}_open(self);"
    yield "    if (!error)"
    yield f"        error = {name}_load(self);"
    yield f"    return error ? error : {name}_attach(self);"
    yield "}"
    yield ""
    yield f"WBPF_SDK int {name}_close(struct {name} *self)"
    yield "{"
    yield "    return wbpf_object_close(self->object);"
    yield "}"


def _map(name: str, each: SkeletonMap) -> Iterator[str]:
    if each.key is None or each.value is None:
        return
    prefix = f"WBPF_SDK int {name}_{each.name}"
    me, handle = f"struct {name} *self", f"self->maps.{each.name}"
    star = "(*{})" if isinstance(each.key, List) else "*{}"
    key, following = (declare(each.key, star.format(name)) for name in ("key", "next"))
    key_bytes = each.key.bytes
    value = f"struct {name}_{each.name}_slot *values" if each.per_cpu else declare(each.value, "(*value)")
    if not each.per_cpu and not isinstance(each.value, List):
        value = value.replace("(*value)", "*value")
    pointer = "values" if each.per_cpu else "value"
    size = f"wbpf_map_cpus({handle}) * sizeof *values" if each.per_cpu else str(each.value.bytes)
    yield f"{prefix}_lookup({me}, const {key}, {value})"
    yield "{"
    yield f"    return wbpf_map_lookup({handle}, key, {key_bytes}, {pointer}, {size});"
    yield "}"
    yield ""
    yield f"{prefix}_update({me}, const {key}, const {value})"
    yield "{"
    yield f"    return wbpf_map_update({handle}, key, {key_bytes}, {pointer}, {size});"
    yield "}"
    yield ""
    yield f"{prefix}_delete({me}, const {key})"
    yield "{"
    yield f"    return wbpf_map_delete({handle}, key, {key_bytes});"
    yield "}"
    yield ""
    yield f"{prefix}_next({me}, const {key}, {following})"
    yield "{"
    yield f"    return wbpf_map_next_key({handle}, key, next, {key_bytes});"
    yield "}"
    yield ""


def _variable(name: str, each: SkeletonVariable) -> Iterator[str]:
    me, size = f"struct {name} *self", each.shape.bytes
    by_value = isinstance(each.shape, Number)
    pointer = declare(each.shape, "value" if by_value else "(*value)")
    if isinstance(each.shape, Record):
        pointer = declare(each.shape, "*value")
    yield f"/* {'Before loading only. */' if each.constant else 'At any time. */'}"
    yield f"WBPF_SDK int {name}_set_{each.name}({me}, {'' if by_value else 'const '}{pointer})"
    yield "{"
    yield f'    return wbpf_object_set(self->object, "{each.name}", {"&" if by_value else ""}value, {size});'
    yield "}"
    yield ""
    pointer = declare(each.shape, "*value") if by_value else pointer
    yield f"WBPF_SDK int {name}_get_{each.name}({me}, {pointer})"
    yield "{"
    yield f'    return wbpf_object_get(self->object, "{each.name}", value, {size});'
    yield "}"
    yield ""
