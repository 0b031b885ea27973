"""Python objects as bytes in the pool, laid out so that they can be used where they are.

An object is a header {magic, kind, count}, a table of {offset, bytes} of `count` parts, and the parts, each
from a new line on. Kind PICKLE: a pickle of protocol 5, then its out-of-band buffers (PEP 574). Kind ARROW:
one part, an Arrow IPC stream.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wbpf.errors import FormatError
from wbpf.pool.errors import MissingExtraError

if TYPE_CHECKING:
    from wbpf._native import PoolView

_MAGIC = 0x4A424F57  # the bytes WOBJ
_PICKLE, _ARROW = 1, 2
_HEADER = struct.Struct("<IHxxQ")
_PART = struct.Struct("<QQ")
_LINE = 64


def _aligned(offset: int) -> int:
    return -(-offset // _LINE) * _LINE


class Encoded:
    """An object about to be written: its parts, and where they go."""

    def __init__(self, kind: int, parts: Sequence[memoryview]) -> None:
        self._kind = kind
        self._parts = parts
        self._offsets = []
        at = _HEADER.size + _PART.size * len(parts)
        for part in parts:
            self._offsets.append(_aligned(at))
            at = _aligned(at) + part.nbytes
        self.size_bytes = at

    def write(self, buffer: memoryview) -> None:
        """Fill a buffer of `size_bytes`."""
        _HEADER.pack_into(buffer, 0, _MAGIC, self._kind, len(self._parts))
        for index, (offset, part) in enumerate(zip(self._offsets, self._parts, strict=True)):
            _PART.pack_into(buffer, _HEADER.size + index * _PART.size, offset, part.nbytes)
            buffer[offset : offset + part.nbytes] = part


def _is_arrow(obj: object) -> bool:
    kind = type(obj)
    return kind.__module__.partition(".")[0] == "pyarrow" and kind.__name__ in ("Table", "RecordBatch")


def _arrow_stream(obj: Any) -> memoryview:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, obj.schema) as writer:
        writer.write(obj)
    return memoryview(sink.getvalue()).cast("B")


def encode(obj: object) -> Encoded:
    """Return the parts of an object, to be written."""
    if _is_arrow(obj):
        return Encoded(_ARROW, [_arrow_stream(obj)])
    buffers: list[pickle.PickleBuffer] = []
    main = pickle.dumps(obj, protocol=5, buffer_callback=buffers.append)
    return Encoded(_PICKLE, [memoryview(main), *(buffer.raw() for buffer in buffers)])


def _read_arrow(part: memoryview) -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError:
        raise MissingExtraError(
            "an Arrow table can't be loaded", "pyarrow is not installed", "pip install 'wbpf[arrow]'"
        ) from None
    with pyarrow.ipc.open_stream(pyarrow.py_buffer(part)) as reader:
        return reader.read_all()


def load(view: PoolView) -> Any:
    """Return the object in a view; its buffers are slices of the view.

    Raises:
        FormatError: the bytes were not written by `put`.
        MissingExtraError: it is an Arrow table, and pyarrow is not installed.
    """
    payload = memoryview(view)
    try:
        magic, kind, count = _HEADER.unpack_from(payload)
        if magic != _MAGIC:
            raise ValueError("no magic number")
        spans = [_PART.unpack_from(payload, _HEADER.size + i * _PART.size) for i in range(count)]
        if any(offset + size > payload.nbytes for offset, size in spans):
            raise ValueError("a part beyond the end")
        parts = [payload[offset : offset + size] for offset, size in spans]
        if kind == _ARROW:
            return _read_arrow(parts[0])
        return pickle.loads(parts[0], buffers=parts[1:])
    except (ValueError, IndexError, struct.error, pickle.UnpicklingError) as error:
        why = f"put() did not write it, or it is damaged: {error}"
        raise FormatError(f"object {view.id!r} can't be loaded", why, "verify() it") from error


__all__ = ["Encoded", "encode", "load"]
