"""Emulated hosts, as their member processes use them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from wbpf import _native
from wbpf.pool import codec
from wbpf.pool.errors import IntegrityError
from wbpf.pool.latency import ACCESS_CLASSES


@dataclass(frozen=True)
class HostInfo:
    """A host of a pool.

    Args:
        host_id: FNV-1a 64 of the name.
        incarnation: random, new whenever a first process joins; 0 if none ever did.
        alive: a process that is a member of it lives.
        virtual_ns: its clock, modelled.
    """

    name: str
    host_id: int
    incarnation: int
    alive: bool
    access_class: str
    virtual_ns: int

    @classmethod
    def of(cls, info: tuple[str, int, int, bool, int, int]) -> HostInfo:
        """Return what the native core tells of a host, with the class by name."""
        name, host_id, incarnation, alive, access_class, virtual_ns = info
        return cls(name, host_id, incarnation, alive, ACCESS_CLASSES[access_class], virtual_ns)


class PoolHost(_native.PoolMember):
    """This process as a member of a host: it sees objects through its line cache, on its clock."""

    @property
    def info(self) -> HostInfo:
        """The host as it is now."""
        return HostInfo.of(_native.pool_member_info(self))

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def host_id(self) -> int:
        """FNV-1a 64 of the name."""
        return self.info.host_id

    @property
    def incarnation(self) -> int:
        """Which life of the host this is."""
        return self.info.incarnation

    @property
    def access_class(self) -> str:
        """The class of its accesses to the pool: a field of LatencyTable."""
        return self.info.access_class

    def put(self, id: str, obj: object, tags: Iterable[str] = ()) -> int:
        """Store a Python object and return its generation.

        Buffers that support pickle 5 (numpy arrays) are copied once, into the pool; Arrow tables go as IPC.

        Raises:
            ObjectExists: there is an object of that id; PoolFull: no space for it.
        """
        encoded = codec.encode(obj)
        writer = self.create(id, encoded.size_bytes, tags)
        with writer as buffer:
            encoded.write(buffer)
        return writer.generation

    def load(self, id: str, timeout_s: float | None = None) -> Any:
        """Return the Python object that `put` stored; its buffers lie in the pool's memory, and keep it.

        Raises:
            ObjectNotFound, ObjectNotSealed: as for `get`.
            IntegrityError: what this host sees of it is not the object.
        """
        with self.get(id, timeout_s) as view:
            result = view.verify()
            if result is not _native.VerifyResult.OK:
                error = IntegrityError(
                    f"object {id!r} can't be loaded",
                    f"what this host sees of it has a {result.name.lower().replace('_', ' ')}",
                    "get() it and refresh() the view, then load()",
                )
                error.result, error.seen = result, view.seen()
                raise error
            return codec.load(view)

    def __enter__(self) -> PoolHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["HostInfo", "PoolHost"]
