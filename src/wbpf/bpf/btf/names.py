"""The names that C gives to BTF's types: identifiers, each for one thing only."""

from __future__ import annotations

import re

from wbpf.bpf.btf.btf import Btf
from wbpf.bpf.btf.types import Composite, Enum, Forward, Type

_KEYWORD = re.compile(
    r"auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|"
    r"goto|if|inline|int|long|register|restrict|return|short|signed|sizeof|static|struct|"
    r"switch|typedef|union|unsigned|void|volatile|while|_Bool|_Complex|_Alignas|_Alignof|"
    r"_Atomic|_Generic|_Noreturn|_Static_assert|_Thread_local|asm|typeof"
)


def identifier(name: str) -> str:
    """A name as C takes it."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{name}" if not name or name[0].isdigit() or _KEYWORD.fullmatch(name) else name


class Names:
    """Gives each type a name of its own: the second `foo` is `foo___2`, which CO-RE still takes for `foo`."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._tags: dict[str, tuple[str, int | None]] = {}
        self._ordinary: dict[str, int] = {}
        self._given: dict[int, str] = {}

    def of(self, one: Type) -> str:
        """A type's name, with the keyword before it if it takes one."""
        given = self._given.get(one.id)
        if given is None:
            given = self._given[one.id] = self._tag(one) if _keyword(one) else self.unique(one.name)
        return given

    def unique(self, name: str) -> str:
        """A name among typedefs and constants."""
        name = identifier(name)
        count = self._ordinary[name] = self._ordinary.get(name, 0) + 1
        return name if count == 1 else self.unique(f"{name}___{count}")

    def _tag(self, one: Type) -> str:
        keyword, name = _keyword(one), identifier(one.name)
        own = None if isinstance(one, Forward) else one.id
        wanted, count = name, 1
        while True:
            taken_by, owner = self._tags.setdefault(wanted, (keyword, own))
            if taken_by == keyword and (own is None or owner in (None, own)):
                if owner is None:
                    self._tags[wanted] = (keyword, own)
                return f"{keyword} {wanted}"
            count += 1
            wanted = f"{name}___{count}"


def _keyword(one: Type) -> str:
    if isinstance(one, Enum):
        return "enum"
    if isinstance(one, Forward):
        return "union" if one.is_union else "struct"
    return one.kind.name.lower() if isinstance(one, Composite) else ""
