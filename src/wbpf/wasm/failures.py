"""Why a call of a guest failed that was answered in C: from what native/hostcalls notes to the exception.

What it notes are texts, each behind its size: a kind of failure, an errno, and what else is to be known.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from wbpf.bpf.attaching import Attaching
from wbpf.bpf.diagnosis import explain
from wbpf.bpf.kernel import Object, refused_load
from wbpf.bpf.program import Program
from wbpf.bpf.target import FunctionTarget, InterfaceTarget, PathTarget, TracepointTarget, parse_targets
from wbpf.bpf.tracefs import tracepoint_id
from wbpf.bpf.variables import failed as variable_failed
from wbpf.bpf.variables import unfit
from wbpf.errors import BpfError, WbpfError
from wbpf.wasm.filters import without_filter
from wbpf.wasm.grants import Grants, Rights, place_of
from wbpf.wasm.host import MissingError, nearest

if TYPE_CHECKING:
    from wbpf.wasm.module import Module


def read_texts(content: bytes) -> list[bytes]:
    """Texts, each behind its size."""
    texts, at = [], 0
    while at < len(content):
        (size,) = struct.unpack_from("<I", content, at)
        texts.append(content[at + 4 : at + 4 + size])
        at += 4 + size
    return texts


def failure_of(texts: list[bytes], module: Module, given: dict[str, str]) -> WbpfError:
    """The exception for a failure.

    Args:
        texts: what was noted.
        module: that failed.
        given: values of the command line.
    """
    kind, error, *rest = texts
    make = _KINDS[kind.decode()]
    return make(_Facts(int(error), rest, module, given))


class _Facts:
    def __init__(self, error: int, texts: list[bytes], module: Module, given: dict[str, str]) -> None:
        self.error, self.raw, self.module, self.given = error, texts, module, given
        self.texts = [text.decode(errors="replace") for text in texts]

    @property
    def rights(self) -> Rights:
        """Of the module: all that its manifest asks for, else it would not have been started."""
        return Rights.of(self.module.manifest.capabilities if self.module.manifest else None, Grants.all())


def _missing(facts: _Facts) -> WbpfError:
    what, owner, name, *there = facts.texts
    if what == "object":
        return MissingError(f"the module has no eBPF object {name!r}", f"it has {', '.join(there) or 'none'}")
    holder = f"object {owner!r}" if owner else "the module"
    return MissingError(f"{holder} has no {what} {name!r}", nearest(name, there))


def _plain(facts: _Facts) -> WbpfError:
    return BpfError(facts.texts[0], facts.texts[1], error=facts.error)


def _param(facts: _Facts) -> WbpfError:
    name, size = facts.texts[0], int(facts.texts[1])
    param = facts.module.manifest.param(name) if facts.module.manifest else None
    assert param is not None  # the plan is of this module
    value = param.parse(facts.given[name]) if name in facts.given else param.value_of_default()
    assert value is not None
    return _raised(lambda: param.pack(value, size), BpfError(f"--{name} can't be used"))


def _open(facts: _Facts) -> WbpfError:
    name, log = facts.texts[:2]
    otherwise = explain(f"eBPF object {name!r} can't be opened", facts.error, log)
    return _raised(lambda: Object(facts.raw[2], name).close(), otherwise)


def _load(facts: _Facts) -> WbpfError:
    name, log, *rows = facts.texts
    programs = [(rows[at], int(rows[at + 1])) for at in range(0, len(rows) - 2, 3) if rows[at + 2] != "0"]
    return refused_load(name, programs, facts.error, log)


def _loaded(facts: _Facts) -> WbpfError:
    name = facts.texts[0]
    return BpfError(
        f"eBPF object {name!r} can't be loaded", f"object {name!r} is loaded", "do it before load()"
    )


def _variable(facts: _Facts) -> WbpfError:
    owner, name, section, size, given = facts.texts
    if size != given:
        return unfit(name, owner, f"it does not have {given} bytes, but {size}")
    return variable_failed(name, owner, section, facts.error)


def _type(facts: _Facts) -> WbpfError:
    name, number = facts.texts
    return _raised(
        lambda: facts.rights.validate_program(name, int(number)), BpfError(f"program {name!r} is refused")
    )


def _place(facts: _Facts) -> WbpfError:
    name, section, target = facts.texts
    places = place_of(section, target)
    return _raised(
        lambda: facts.rights.validate_attach(name, places), BpfError(f"program {name!r} is refused")
    )


def _attach(facts: _Facts) -> WbpfError:
    stage, name, section, kind, attach_type, target, cookie, where, log = facts.texts
    program = Program(cast(Any, None), name, section, int(kind), int(attach_type), True)  # nobody's
    attaching = Attaching(program, int(cookie))
    if stage == "refused":
        return attaching.refused(where, facts.error, log)
    return _raised(lambda: _prepare(attaching, section, target), attaching.refused(where, facts.error, log))


def _prepare(attaching: Attaching, section: str, target: str) -> None:
    """What comes before the kernel is asked."""
    for one in parse_targets(section, target or None):
        match one:
            case TracepointTarget():
                tracepoint_id(one.category, one.name)
            case InterfaceTarget():
                attaching.ifindex(one.interface)
            case PathTarget():
                os.close(attaching.open_path(one.path))
            case FunctionTarget():
                attaching.check_aim(one)


def _raised(call: Callable[[], object], otherwise: WbpfError) -> WbpfError:
    """What a call raises; it is the one that has failed in C."""
    try:
        call()
    except WbpfError as error:
        return error
    return otherwise


_KINDS: dict[str, Callable[[_Facts], WbpfError]] = {
    "missing": _missing,
    "plain": _plain,
    "param": _param,
    "filter": lambda facts: without_filter(facts.texts[0]),
    "open": _open,
    "load": _load,
    "loaded": _loaded,
    "variable": _variable,
    "type": _type,
    "place": _place,
    "attach": _attach,
}
