"""Translated programs that are kept: in the user's cache, or in a module (`wbpf build --aot`).

They are known by a hash of what they were made from: the instructions as they are linked (so that types,
variables and maps are in it), contexts, maps, the architecture, and the translator. What is found under it
was verified when it was made. It is machine code, which is run as it is: so the cache is a folder of the
user's own that nobody else may write to, else it is not used; and a module's is used only for whom one
trusts (docs/decisions/ahead-of-time.md).
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wbpf.bpf.code_folder import CodeFolder
from wbpf.envvars import CACHE_DIR
from wbpf.errors import FormatError

try:
    from _blake2 import blake2b  # what hashlib offers too, after it has loaded OpenSSL
except ImportError:
    from hashlib import blake2b

if TYPE_CHECKING:
    from wbpf.bpf.user.program import ProgramSpec

_MAGIC = b"wbpfaot1"
_HASH_BYTES = 24


@dataclass(frozen=True, slots=True)
class Part:
    """One program of a translation.

    Args:
        entry: where it begins in the code.
        helpers: numbers of those that it calls, by slots.
        complete: every access and loop is proved.
    """

    entry: int
    helpers: tuple[int, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class Translation:
    """Position-independent machine code of verified programs.

    Args:
        parts: by the programs' names.
    """

    code: bytes
    parts: Mapping[str, Part]

    def to_bytes(self) -> bytes:
        """As it is kept."""
        head = json.dumps({name: asdict(part) for name, part in self.parts.items()}).encode()
        content = _MAGIC + len(head).to_bytes(4, "little") + head + self.code
        return blake2b(content, digest_size=_HASH_BYTES).digest() + content

    @classmethod
    def parse(cls, kept: bytes) -> Self:
        """What `to_bytes` made. Raises FormatError: it is damaged."""
        content, at = kept[_HASH_BYTES:], len(_MAGIC) + 4
        try:
            if blake2b(content, digest_size=_HASH_BYTES).digest() != kept[:_HASH_BYTES]:
                raise ValueError("its checksum is another")
            end = at + int.from_bytes(content[at - 4 : at], "little")
            parts = {
                name: Part(int(row["entry"]), tuple(map(int, row["helpers"])), row["complete"] is True)
                for name, row in json.loads(content[at:end]).items()
            }
            code = content[end:]
            if not content.startswith(_MAGIC) or any(
                not 0 <= one.entry < len(code) for one in parts.values()
            ):
                raise ValueError("a program begins outside of it")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError("translated programs are damaged", str(error), "make them again") from error
        return cls(code, parts)


def key_of(specs: Mapping[str, ProgramSpec], arch: str = platform.machine()) -> str:
    """What programs are known by."""
    digest = blake2b(_translator(), digest_size=_HASH_BYTES)
    digest.update(arch.encode())
    for name, spec in specs.items():
        context = [
            sorted(value.items()) if isinstance(value, Mapping) else _ordered(value)
            for value in (getattr(spec.context, slot) for slot in spec.context.__slots__)
        ]
        models = [one.model for one in spec.maps]
        row = repr((name, len(spec.code), str(context), spec.checks, models)).encode()
        digest.update(len(row).to_bytes(8, "little") + row + spec.code)
    return digest.hexdigest()


def _ordered(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


@cache
def _translator() -> bytes:
    """What the verifier and the translator are: a hash of their source."""
    digest = blake2b(digest_size=_HASH_BYTES)
    folder = Path(__file__).parent
    for path in sorted((*folder.glob("*.py"), *(folder / "verifier").glob("*.py"))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.digest()


# ---- in a module ----


def pack(translations: Mapping[str, Translation]) -> bytes:
    """The content of a section, by keys."""
    out = bytearray()
    for key, one in translations.items():
        kept = one.to_bytes()
        out += bytes.fromhex(key) + len(kept).to_bytes(4, "little") + kept
    return bytes(out)


def unpack(section: bytes, key: str) -> Translation | None:
    """The one of a key; None: there is none such.

    Raises:
        FormatError: the section is damaged.
    """
    at = 0
    while at < len(section):
        begin = at + _HASH_BYTES + 4
        end = begin + int.from_bytes(section[begin - 4 : begin], "little")
        if begin > len(section) or end > len(section):
            raise FormatError("translated programs are damaged", "they are cut short", "build it again")
        if section[at : at + _HASH_BYTES].hex() == key:
            return Translation.parse(section[begin:end])
        at = end
    return None


# ---- in the user's cache ----


def find(key: str) -> Translation | None:
    """One of the cache; None if it is not there, is damaged, or somebody else could have written it."""
    kept = _folder().read(key)
    try:
        return None if kept is None else Translation.parse(kept)
    except FormatError:
        return None


def keep(key: str, translation: Translation) -> None:
    """Put one into the cache, unless its folder can't be trusted or written."""
    content = translation.to_bytes()
    _folder().keep(key, lambda fd: os.write(fd, content) == len(content))


def _folder() -> CodeFolder:
    return CodeFolder(CACHE_DIR.read() / "user")
