"""Stack traces that programs took by bpf_get_stackid() or bpf_get_stack(); `symbols` names their frames."""

from __future__ import annotations

import errno
import os

from wbpf.bpf.maps import Map
from wbpf.errors import BpfError


def stack(map: Map, stack_id: int) -> list[int]:
    """The addresses of a stack, innermost first.

    Args:
        map: of kind STACK_TRACE.
        stack_id: what bpf_get_stackid() returned.

    Raises:
        BpfError: a negative number: the program could not take the stack, and why.
        KeyError: another stack has taken its place.
    """
    if stack_id < 0:
        reasons = {errno.EFAULT: "there was none", errno.EEXIST: "another stack has the same hash"}
        why = reasons.get(-stack_id, os.strerror(-stack_id))
        raise BpfError(f"the stack can't be read from map {map.name!r}", why)
    return addresses(map[stack_id.to_bytes(4, "little")])


def addresses(content: bytes) -> list[int]:
    """The addresses in a buffer of a program, up to its end or a zero."""
    found = [int.from_bytes(content[at : at + 8], "little") for at in range(0, len(content) // 8 * 8, 8)]
    return found[: found.index(0)] if 0 in found else found
