"""Checks of what peers send: nothing that came over the wire is used before it passed one of these."""

from __future__ import annotations

from wbpf.errors import WireError
from wbpf.records import NO_TRACE, host_id

#: Longer names than this fit no segment.
MAX_NAME_BYTES = 63
MAX_TEXT_BYTES = 4096


class Malformed(WireError):
    """A peer sent something that no daemon of ours sends."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "a message is malformed", what, "check that all daemons are of one version, and who sent it"
        )


def validate_trace_id(trace_id: bytes) -> bytes:
    """Return the trace id.

    Raises:
        Malformed: it is not 16 bytes, or all zero.
    """
    if len(trace_id) != 16 or trace_id == NO_TRACE:
        raise Malformed(f"a trace id of {len(trace_id)} bytes, or of zeros")
    return trace_id


def split_ids(ids: bytes, most: int) -> list[bytes]:
    """Cut a string of trace ids into ids; zeros and repetitions are left out.

    Raises:
        Malformed: the length is wrong, or there are more than `most`.
    """
    if len(ids) % 16 or len(ids) > 16 * most:
        raise Malformed(f"{len(ids)} bytes of trace ids, where at most {most} of 16 bytes belong")
    cut = dict.fromkeys(ids[i : i + 16] for i in range(0, len(ids), 16))
    cut.pop(NO_TRACE, None)
    return list(cut)


def validate_name(name: str) -> str:
    """Return the name of a host, service, process or trigger.

    Raises:
        Malformed: it is empty, too long, or has unprintable characters or a slash.
    """
    if not name or len(name.encode()) > MAX_NAME_BYTES or not name.isprintable() or "/" in name:
        raise Malformed(f"the name {name[:80]!r}")
    return name


def validate_host(name: str, claimed_id: int) -> int:
    """Return the id of a host.

    Raises:
        Malformed: the name can't be one, or the id is another host's.
    """
    validate_name(name)
    if name in (".", "..") or claimed_id != host_id(name):
        raise Malformed(f"host {name!r} with id {claimed_id:016x}")
    return claimed_id


def clip(text: str) -> str:
    """A peer's free text, made fit to be kept and shown."""
    shown = "".join(char if char.isprintable() else "�" for char in text[:MAX_TEXT_BYTES])
    return shown.strip()
