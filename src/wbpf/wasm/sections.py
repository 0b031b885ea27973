"""The custom sections of a WebAssembly module: read without running it, added without changing the rest.

The layout is the binary format's of WebAssembly Core 1.0, section 5.5: a header, then sections, each an id,
its size as LEB128, and its content; a custom section has id 0 and begins with its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wbpf.errors import FormatError

#: eBPF objects: `wbpf.object.NAME`
#: Translated programs, by architecture.
AOT_PREFIX = "wbpf.aot."
OBJECT_PREFIX = "wbpf.object."
MANIFEST = "wbpf.manifest"
#: reduced BTFs of kernels
BTF = "wbpf.btf"

_MAGIC = b"\0asm"
_CORE, _COMPONENT = b"\x01\0\0\0", b"\x0d\0\x01\0"
_CUSTOM, _TABLE_SECTION, _EXPORT_SECTION = 0, 4, 7
_TABLE = 1  # as a kind of export
_LEB128_BYTES = 5  # of 32 bits


def read_sections(wasm: bytes) -> dict[str, bytes]:
    """The custom sections of a module, by name; of several with one name (not of ours) the first.

    Raises:
        FormatError: it is no core module, or is damaged, or has a section of ours twice.
    """
    found: dict[str, bytes] = {}
    for name, content, _, _ in _custom_sections(wasm):
        if name in found and name.startswith("wbpf."):
            raise FormatError(f"section {name!r} is there twice", "", "build the module again")
        found.setdefault(name, content)
    return found


def with_sections(wasm: bytes, contents: Mapping[str, bytes]) -> bytes:
    """The module with these custom sections at its end, in place of any that have their names.

    Raises:
        FormatError: it is no core module, or is damaged.
    """
    kept, at = bytearray(), 0
    for name, _, start, end in _custom_sections(wasm):
        if name in contents:
            kept += wasm[at:start]
            at = end
    kept += wasm[at:]
    for name, content in contents.items():
        encoded = name.encode()
        body = _leb128(len(encoded)) + encoded + content
        kept += bytes([_CUSTOM]) + _leb128(len(body)) + body
    return bytes(kept)


def with_exported_table(wasm: bytes) -> bytes:
    """The module with its first table exported, if none is, by the name that linkers export it by.

    Raises:
        FormatError: it is no core module, or is damaged.
    """
    exports, tables = None, 0
    for kind, content_at, start, end in _sections(wasm):
        if kind == _TABLE_SECTION:
            tables, _ = _read_leb128(wasm, content_at, end)
        elif kind == _EXPORT_SECTION:
            exports = content_at, start, end
    if not exports or not tables:
        return wasm
    content_at, start, end = exports
    count, entries_at = _read_leb128(wasm, content_at, end)
    at = entries_at
    for _ in range(count):
        name_bytes, at = _read_leb128(wasm, at, end)
        at += name_bytes
        if at < end and wasm[at] == _TABLE:
            return wasm
        _, at = _read_leb128(wasm, at + 1, end)
    name = b"__indirect_function_table"
    added = _leb128(len(name)) + name + bytes([_TABLE, 0])
    body = _leb128(count + 1) + wasm[entries_at:end] + added
    return wasm[:start] + bytes([_EXPORT_SECTION]) + _leb128(len(body)) + body + wasm[end:]


def objects(sections: Mapping[str, bytes]) -> dict[str, bytes]:
    """The eBPF objects among custom sections, by their names."""
    return {
        name.removeprefix(OBJECT_PREFIX): content
        for name, content in sections.items()
        if name.startswith(OBJECT_PREFIX)
    }


def _custom_sections(wasm: bytes) -> Iterator[tuple[str, bytes, int, int]]:
    """Name, content, start and end of each; `start` is where its id stands."""
    for kind, content_at, start, end in _sections(wasm):
        if kind == _CUSTOM:
            name_bytes, name_at = _read_leb128(wasm, content_at, end)
            if name_at + name_bytes > end:
                raise _damaged(f"the name of the section at {start} is longer than the section")
            try:
                name = wasm[name_at : name_at + name_bytes].decode()
            except UnicodeDecodeError:
                raise _damaged(f"the name of the section at {start} is not UTF-8") from None
            yield name, wasm[name_at + name_bytes : end], start, end


def _sections(wasm: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Id, begin of the content, start and end of each."""
    if not wasm.startswith(_MAGIC):
        why, hint = r"it does not start with \0asm", "give the .wasm file that was built"
        if wasm.startswith(b"\x7fELF"):
            why, hint = (
                "it is an ELF file",
                "`wbpf run --once` runs an eBPF object, `wbpf build` makes a module",
            )
        elif not wasm:
            why, hint = "it is empty", "copy or build it again"
        raise FormatError("not a WebAssembly module", why, hint)
    version = wasm[4:8]
    if version == _COMPONENT:
        raise FormatError(
            "not a core WebAssembly module",
            "it is a component",
            "build for wasm32-wasip1, without a component",
        )
    if version != _CORE:
        raise FormatError("not a WebAssembly module of version 1", f"its version is {version.hex()}")
    at = 8
    while at < len(wasm):
        start, kind = at, wasm[at]
        size, content_at = _read_leb128(wasm, at + 1, len(wasm))
        at = content_at + size
        if at > len(wasm):
            why = f"it is cut short, section {kind} at {start} ends {at - len(wasm)} bytes behind its end"
            raise _damaged(why)
        yield kind, content_at, start, at


def _read_leb128(wasm: bytes, at: int, end: int) -> tuple[int, int]:
    """A 32-bit number, and where it ends."""
    value = 0
    for position in range(_LEB128_BYTES):
        if at + position >= end:
            raise _damaged(f"it ends within a number at {at}")
        byte = wasm[at + position]
        value |= (byte & 0x7F) << 7 * position
        if not byte & 0x80:
            if value >> 32:
                break
            return value, at + position + 1
    raise _damaged(f"the number at {at} has more than 32 bits")


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _damaged(why: str) -> FormatError:
    return FormatError("the WebAssembly module is damaged", why, "copy or build it again")
