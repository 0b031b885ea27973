"""The eBPF objects of a module: in its sections, or in its memory, as in modules of the `wasm_bpf` ABI.

Nothing is run.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from wbpf.bpf.object_file import ObjectFile
from wbpf.errors import FormatError
from wbpf.wasm.sections import objects, read_sections

_ELF = b"\x7fELF\x02\x01"
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")
_BPF, _NO_BITS = 247, 8
_DATA = 11
_MOST_MEMORY = 256 << 20


def find_objects(wasm: bytes) -> dict[str, bytes]:
    """The objects by name; those found in memory are called `data`, `data2`, ….

    Raises:
        FormatError: it is no core module, or is damaged.
    """
    found = objects(read_sections(wasm))
    if found:
        return found
    images = [image for memory in _memory(wasm) for image in _images(memory)]
    return {f"data{'' if at == 0 else at + 1}": image for at, image in enumerate(images)}


def _images(memory: bytes) -> list[bytes]:
    """The eBPF objects in a stretch of memory."""
    found, at = [], memory.find(_ELF)
    while at >= 0:
        image = _image(memory[at:])
        if image is not None:
            found.append(image)
        at = memory.find(_ELF, at + (len(image) if image else 1))
    return found


def _image(memory: bytes) -> bytes | None:
    """The object that a stretch of memory begins with."""
    try:
        fields = _HEADER.unpack_from(memory)
        if fields[2] != _BPF:
            return None
        table, count = fields[6], fields[12]
        headers = [_SECTION.unpack_from(memory, table + at * _SECTION.size) for at in range(count)]
        ends = [header[4] + header[5] for header in headers if header[1] != _NO_BITS]
        image = memory[: max([table + count * _SECTION.size, *ends])]
        ObjectFile.parse(image)
    except (StructError, FormatError, OverflowError):
        return None
    return image


def _memory(wasm: bytes) -> list[bytes]:
    """What a module puts into its memory: segments side by side, for zeros are often left out."""
    placed: dict[int, bytes] = {}
    loose: list[bytes] = []
    for place, content in _segments(wasm):
        if place is None:
            loose.append(content)
        elif place + len(content) <= _MOST_MEMORY:
            placed[place] = content
    memory = bytearray(max((place + len(content) for place, content in placed.items()), default=0))
    for place, content in placed.items():
        memory[place : place + len(content)] = content
    return [bytes(memory), *loose]


def _segments(wasm: bytes) -> list[tuple[int | None, bytes]]:
    found: list[tuple[int | None, bytes]] = []
    at = 8
    while at < len(wasm):
        kind, (size, start) = wasm[at], _number(wasm, at + 1)
        at = start + size
        if kind != _DATA:
            continue
        count, here = _number(wasm, start)
        for _ in range(count):
            flags, here = _number(wasm, here)
            place: int | None = None
            if flags == 2:
                _, here = _number(wasm, here)
            if flags in (0, 2):
                operation = wasm[here] if here < len(wasm) else 0
                place, here = _number(wasm, here + 1)
                if operation != 0x41 or wasm[here : here + 1] != b"\x0b":  # i32.const, end
                    raise FormatError("the WebAssembly module is damaged", "a segment has no constant place")
                here += 1
            length, here = _number(wasm, here)
            if here + length > len(wasm):
                raise FormatError("the WebAssembly module is damaged", "a segment is cut off")
            found.append((place, wasm[here : here + length]))
            here += length
    return found


def _number(wasm: bytes, at: int) -> tuple[int, int]:
    """A number of at most 32 bits in LEB128, and where it ends; addresses are not negative."""
    value = shift = 0
    while at < len(wasm) and shift < 35:
        value |= (wasm[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not wasm[at - 1] & 0x80:
            return value & 0xFFFFFFFF, at
    raise FormatError("the WebAssembly module is damaged", f"it ends within a number at {at}")
