"""What an eBPF object needs of the kernel, read from the object alone."""

from __future__ import annotations

import re

from wbpf.bpf.btf import Btf, Relocation, RelocationKind
from wbpf.bpf.btf import types as t
from wbpf.bpf.helpers import helper_name
from wbpf.bpf.kinds import MapType, name_of
from wbpf.bpf.object_file import MapDefinition, ObjectFile, ProgramDefinition
from wbpf.bpf.reach import reached
from wbpf.bpf.target import Kind, kind_of, section_target
from wbpf.build import kernels
from wbpf.errors import FormatError
from wbpf.wasm.manifest import Kernel, MapNeeds, ObjectNeeds, ProgramNeeds

_TYPES = {
    Kind.TRACEPOINT: "tracepoint",
    Kind.RAW_TRACEPOINT: "raw_tracepoint",
    **dict.fromkeys((Kind.TP_BTF, Kind.FENTRY, Kind.FEXIT, Kind.FMOD_RET, Kind.ITER), "tracing"),
    Kind.FREPLACE: "ext",
    **dict.fromkeys((Kind.LSM, Kind.LSM_CGROUP), "lsm"),
    **dict.fromkeys((Kind.KPROBE, Kind.KRETPROBE, Kind.KPROBE_MULTI, Kind.KRETPROBE_MULTI), "kprobe"),
    **dict.fromkeys((Kind.KSYSCALL, Kind.KRETSYSCALL, Kind.UPROBE, Kind.URETPROBE, Kind.USDT), "kprobe"),
    Kind.TC: "sched_cls",
    Kind.SOCKET: "socket_filter",
    **{kind: kind.value for kind in (Kind.PERF_EVENT, Kind.XDP, Kind.SK_LOOKUP, Kind.FLOW_DISSECTOR)},
    **{kind: kind.value for kind in (Kind.SK_REUSEPORT, Kind.LIRC, Kind.STRUCT_OPS)},
}
#: Of sections whose kind says too little.
_BY_SECTION = {
    "sockops": "sock_ops",
    "cgroup_skb": "cgroup_skb",
    "cgroup/skb": "cgroup_skb",
    "cgroup/dev": "cgroup_device",
    "cgroup/sysctl": "cgroup_sysctl",
    "cgroup/getsockopt": "cgroup_sockopt",
    "cgroup/setsockopt": "cgroup_sockopt",
    "cgroup/sock": "cgroup_sock",
    "cgroup/sock_create": "cgroup_sock",
    "cgroup/sock_release": "cgroup_sock",
    "cgroup/post_bind4": "cgroup_sock",
    "cgroup/post_bind6": "cgroup_sock",
    "sk_skb": "sk_skb",
    "sk_msg": "sk_msg",
    "raw_tp.w": "raw_tracepoint_writable",
    "raw_tracepoint.w": "raw_tracepoint_writable",
    "xdp/devmap": "xdp",
    "xdp/cpumap": "xdp",
    "action": "sched_act",
    "syscall": "syscall",
}
_FLAVOUR = re.compile(r"___.*$")


def object_needs(name: str, elf: bytes) -> ObjectNeeds:
    """What an object needs, whatever the constants of its `.rodata` will be.

    Raises:
        FormatError: it is no eBPF object, or has no BTF.
    """
    file = object_file(elf)
    file.data.clear()  # so that no branch on a constant is taken for decided
    programs = tuple(_program(file, program) for program in file.programs)
    return ObjectNeeds(
        name, programs, tuple(_map(each) for each in file.maps if not each.name.startswith("."))
    )


def object_file(elf: bytes) -> ObjectFile:
    """An object with its types.

    Raises:
        FormatError: it is none, or has no BTF.
    """
    file = ObjectFile.parse(elf)
    if file.btf is None:
        raise FormatError("the eBPF object has no BTF", "", "compile it with -g")
    return file


def program_type(section: str) -> str:
    """The type of a section's programs, as the kernel calls it in lower case."""
    plain = section.removeprefix("?")
    parts = plain.split("/")
    for name in ("/".join(parts[:2]), parts[0]):
        if name in _BY_SECTION:
            return _BY_SECTION[name]
    if parts[0] == "cgroup":
        return "cgroup_sock_addr"
    return _TYPES.get(kind_of(section), parts[0].partition(".")[0])


def _program(file: ObjectFile, program: ProgramDefinition) -> ProgramNeeds:
    found = reached(file, program)
    newest: list[Kernel | None] = [kernels.kernel_of_section(kind_of(program.section), program.section)]
    newest += [kernels.kernel_of_helper(number, helper_name(number)) for number in sorted(found.helpers)]
    wanted = {
        _described(relocation, file.btf)
        for relocation in file.relocations()
        if file.btf and (relocation.section, relocation.offset) in found.instructions
    }
    return ProgramNeeds(
        name=program.name,
        section=program.section,
        type=program_type(program.section),
        helpers=tuple(helper_name(number) for number in sorted(found.helpers)),
        kfuncs=tuple(sorted(found.kfuncs)),
        target=section_target(program.section) or None,
        btf=tuple(sorted(wanted - {""})),
        kernel=kernels.latest(newest),
    )


def _map(definition: MapDefinition) -> MapNeeds:
    name = name_of(definition.type, MapType).lower()
    return MapNeeds(
        name=definition.name,
        type=name,
        key_bytes=definition.key_bytes,
        value_bytes=definition.value_bytes,
        entries=definition.entries,
        flags=definition.flags,
        kernel=kernels.kernel_of_map(definition.type, name, definition.flags),
    )


def _described(relocation: Relocation, btf: Btf) -> str:
    """`struct task_struct.real_parent`."""
    root = btf.peel(relocation.type)
    if not root.name or relocation.kind in (RelocationKind.TYPE_ID_LOCAL,):
        return ""
    name = _FLAVOUR.sub("", root.name)
    kind = {t.Kind.ENUM64: "enum"}.get(root.kind, root.kind.name.lower())
    steps = [int(step) for step in relocation.access.split(":")]
    if isinstance(root, t.Enum):
        if relocation.kind not in (RelocationKind.ENUMVAL_EXISTS, RelocationKind.ENUMVAL_VALUE):
            return f"enum {name}"
        return (
            f"enum {name}.{_FLAVOUR.sub('', root.values[steps[0]][0])}" if steps[0] < len(root.values) else ""
        )
    path, current = "", root
    for step in steps[1:]:
        if isinstance(current, t.Composite) and step < len(current.members):
            member = current.members[step]
            path += f".{member.name}" if member.name else ""
            current = btf.peel(member.type)
        elif isinstance(current, t.Array):
            current = btf.peel(current.type)
    return f"{kind} {name}{path}"
