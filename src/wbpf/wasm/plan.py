"""Plans: what `wbpf run` needs to know of a module to start it without Python, kept beside its compiled code.

The command `wbpf` (native/launcher) reads them. A module gets one if all that it may ask for is answered in C
(native/hostcalls/host.c); for others, and whenever it is in doubt, the command starts Python.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from wbpf.bpf.elf import read_elf
from wbpf.bpf.kinds import ProgramType
from wbpf.bpf.target import Kind, kind_of
from wbpf.errors import WbpfError
from wbpf.wasm.engine import library
from wbpf.wasm.grants import KINDS, short_head, wishes
from wbpf.wasm.inside import find_objects
from wbpf.wasm.limits import DEFAULT_DEADLINE_MS, DEFAULT_MEMORY_MIB

if TYPE_CHECKING:
    from wbpf.wasm.manifest import Manifest
    from wbpf.wasm.module import Module
    from wbpf.wasm.params import Param, Value

_MAGIC, _FORMAT = b"wbpfplan", 2
#: Imports that Python answers.
_SCRIPTED = {"map_pin", "map_reuse", "link_read", "symbolise"}
_OPENING = {"object_open_mem", "wasm_load_bpf_object"}
#: Kinds of programs that native/hostcalls/links.c attaches.
_KINDS = {
    Kind.TRACEPOINT,
    Kind.RAW_TRACEPOINT,
    Kind.TP_BTF,
    Kind.FENTRY,
    Kind.FEXIT,
    Kind.FMOD_RET,
    Kind.LSM,
    Kind.KPROBE,
    Kind.KRETPROBE,
    Kind.KSYSCALL,
    Kind.KRETSYSCALL,
    Kind.XDP,
    Kind.CGROUP,
    Kind.SK_LOOKUP,
}
_CODE, _EXECUTABLE = 1, 4


def plan_of(module: Module, imports: Iterable[tuple[str, str]], flags: Iterable[str]) -> bytes | None:
    """A module's plan; None if Python is to run it.

    Args:
        module: that may be run.
        imports: module and name of each.
        flags: of the command line, which no parameter may be called.
    """
    names = {name for _, name in imports}
    manifest = module.manifest
    if names & _SCRIPTED or not _are_known(module, bool(names & _OPENING)):
        return None
    if manifest is not None and not _is_plain(manifest, frozenset(flags)):
        return None
    try:
        body = _text(str(library())) + _rights(manifest) + _params(manifest)
    except (WbpfError, ValueError, struct.error):
        return None
    body += _number(len(module.objects))
    for name, elf in module.objects.items():
        body += _text(name) + _number(module.wasm.index(elf)) + _number(len(elf))
    events = manifest.events if manifest else ()
    body += _number(len(events))
    for event in events:
        body += _text(event.name) + _number(event.bytes)
    body += _texts(dict.fromkeys(field.name for event in events for field in event.fields))
    return _MAGIC + _number(_FORMAT) + _number(len(_MAGIC) + 8 + len(body)) + body


def _are_known(module: Module, opens_memory: bool) -> bool:
    """Whether all programs, as far as they can be seen, are of kinds that are attached in C."""
    elves = list(module.objects.values())
    if opens_memory:
        inside = {} if elves else find_objects(module.wasm)
        if not inside:
            return False
        elves += inside.values()
    try:
        return all(_is_known(elf) for elf in elves)
    except WbpfError:  # the run says what is wrong with it
        return False


def _is_known(elf: bytes) -> bool:
    for section in read_elf(elf):
        if section.name.startswith((".struct_ops", "struct_ops")):
            return False
        if section.kind != _CODE or not section.flags & _EXECUTABLE or section.name == ".text":
            continue
        if kind_of(section.name) not in _KINDS and not _is_only_run(section.name):
            return False
    return True


def _is_only_run(section: str) -> bool:
    return section.removeprefix("?").partition("/")[0] in ("syscall", "xdp", "xdp.frags")


def _is_plain(manifest: Manifest, flags: frozenset[str]) -> bool:
    asked = manifest.capabilities
    names = [param.name for param in manifest.params]
    clash = any(name in flags or name.startswith("no-") for name in names)
    return not asked.fs and not clash and not any(re.search(r"[\[\\]", text) for text in asked.attach)


def _rights(manifest: Manifest | None) -> bytes:
    if manifest is None:
        limits = _number(DEFAULT_MEMORY_MIB) + _wide(DEFAULT_DEADLINE_MS)
        return _number(1) + _number(0) + limits + _number(0) * 4
    asked = manifest.capabilities
    mask = sum(1 << at for at, kind in enumerate(KINDS) if kind in wishes(asked))
    deadline_ms = DEFAULT_DEADLINE_MS if asked.deadline_ms is None else asked.deadline_ms
    types = [kind.value for kind in ProgramType if kind.name.lower() in asked.programs]
    return b"".join(
        (
            *map(_number, (0, mask, asked.memory_mib)),
            _wide(deadline_ms),
            *map(_number, (len(types), *types)),
            _texts(map(_pattern, asked.attach)),
            _texts(asked.network),
            _texts(asked.env),
        )
    )


def _pattern(text: str) -> str:
    head, slash, rest = text.partition("/")
    return short_head(head) + (slash + rest if rest else "")


def _params(manifest: Manifest | None) -> bytes:
    params = manifest.params if manifest else ()
    return _number(len(params)) + b"".join(map(_param, params))


def _param(param: Param) -> bytes:
    value = param.value_of_default()
    text = "" if value is None else str(value) if param.type == "duration" else param.text(value)
    parts = [
        _text(param.name),
        _number(ord(param.type[0])),
        _number(int(value is not None)),
        _bits(param, value),
        _text(text),
        _text(param.variable or ""),
        _texts(param.programs),
        _number(len(param.choices)),
        *(_text(choice.name) + _texts(choice.programs) for choice in param.choices),
    ]
    return b"".join(parts)


def _bits(param: Param, value: Value | None) -> bytes:
    if value is None or isinstance(value, str):
        names = [choice.name for choice in param.choices]
        return _wide(names.index(value) if isinstance(value, str) and names else 0)
    if param.type == "float":
        return struct.pack("<d", value)
    return (int(value) & (2**64 - 1)).to_bytes(8, "little")


# ---- how it is written ----


def _number(value: int) -> bytes:
    return struct.pack("<I", value)


def _wide(value: int) -> bytes:
    return struct.pack("<Q", value)


def _text(text: str) -> bytes:
    content = text.encode()
    if b"\0" in content:
        raise ValueError("a text has a NUL in it")
    return _number(len(content)) + content + b"\0"


def _texts(texts: Iterable[str]) -> bytes:
    encoded = [_text(text) for text in texts]
    return _number(len(encoded)) + b"".join(encoded)
