"""Ids as W3C Trace Context writes them: lower-case hex, 32 digits for a trace, 16 for a span."""

from __future__ import annotations

from wbpf.errors import FormatError

NO_TRACE = bytes(16)


def trace_id_hex(trace_id: bytes) -> str:
    return trace_id.hex()


def parse_trace_id(text: str) -> bytes:
    """Read a whole trace id.

    Raises:
        FormatError: it is not 32 hex digits, or all of them are 0.
    """
    try:
        trace_id = bytes.fromhex(text)
    except ValueError:
        trace_id = b""
    if len(trace_id) != 16 or len(text) != 32 or trace_id == NO_TRACE:
        raise FormatError(f"{text!r} is not a trace id", "it takes 32 hex digits, not all of them 0")
    return trace_id


def span_id_hex(span_id: int) -> str:
    return f"{span_id:016x}"


def host_id(name: str) -> int:
    """FNV-1a, 64 bits, of a host's name: what segments and breadcrumbs call a host."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
