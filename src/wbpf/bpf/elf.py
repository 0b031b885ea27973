"""The sections of an object file, as far as wBPF reads them itself; the rest is libbpf's."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError

from wbpf.errors import FormatError

_IDENT = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_HEADER = Struct("<16sHHIQQQIHHHHHH")
_SECTION = Struct("<IIQQQQIIQQ")
_BPF = 247
_NO_BITS = 8


@dataclass(frozen=True, slots=True)
class Section:
    """One section. Args: kind, flags, link, info, address: as in its header."""

    name: str
    kind: int
    flags: int
    link: int
    info: int
    content: bytes
    address: int = 0


def sections(elf: bytes) -> dict[str, bytes]:
    """The contents of an eBPF object's sections, by name.

    Raises:
        FormatError: it is no ELF file for eBPF, or is damaged.
    """
    return {section.name: section.content for section in read_elf(elf) if section.kind}


def read_elf(elf: bytes, machine: int | None = _BPF) -> list[Section]:
    """All sections, by their numbers.

    Args:
        elf: the file.
        machine: that it must be for; None for any.

    Raises:
        FormatError: it is no such ELF file, or is damaged.
    """
    what = "eBPF object" if machine == _BPF else "ELF file"
    if not elf.startswith(_IDENT):
        raise FormatError(
            f"not an {what}",
            "it does not start as a little-endian 64-bit ELF file does",
            "compile with -target bpfel" if machine == _BPF else "",
        )
    try:
        _, _, found, _, _, _, table, _, _, _, _, entry_bytes, count, names_index = _HEADER.unpack_from(elf)
        if machine is not None and found != machine:
            raise FormatError(
                "not an eBPF object", f"it is for machine {found}", "compile with -target bpfel"
            )
        if entry_bytes != _SECTION.size or table + count * entry_bytes > len(elf) or names_index >= count:
            raise StructError("it is cut short, its table of sections lies behind its end")
        headers = [_SECTION.unpack_from(elf, table + i * entry_bytes) for i in range(count)]
        names = _content(elf, headers[names_index])
        return [
            Section(
                names[header[0] : names.index(b"\0", header[0])].decode(errors="replace"),
                header[1],
                header[2],
                header[6],
                header[7],
                _content(elf, header) if header[1] else b"",
                header[3],
            )
            for header in headers
        ]
    except (StructError, ValueError) as error:
        raise FormatError(f"the {what} is damaged", str(error), "copy or compile it again") from None


def with_name(error: FormatError, name: str) -> FormatError:
    """What is wrong with an eBPF object, of which the name is known."""
    what = error.what.replace("the eBPF object", f"eBPF object {name!r}", 1)
    if what == error.what:
        what = f"{name!r} is {what}" if what.startswith("not ") else f"eBPF object {name!r}: {what}"
    return FormatError(what, error.why, error.hint)


def strings(content: bytes) -> list[str]:
    """The NUL-terminated strings that a section is made of."""
    return [text.decode(errors="replace") for text in content.split(b"\0") if text]


def _content(elf: bytes, header: tuple[int, ...]) -> bytes:
    _, kind, _, _, offset, size, *_ = header
    if kind == _NO_BITS:
        return b""
    if offset + size > len(elf):
        raise StructError("a section does not lie inside it")
    return elf[offset : offset + size]
