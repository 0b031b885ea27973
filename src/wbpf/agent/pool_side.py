"""The agent's side of the pool: flushes the host's segments to it, and reads those of hosts that are gone."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from pathlib import Path

from wbpf.agent.segments import Attached
from wbpf.agent.stand_in import Findings
from wbpf.errors import PoolFull, WbpfError
from wbpf.pool import Pool
from wbpf.pooled import Flusher, FlushSpec, Recovered, recover, regions
from wbpf.recorder import Piece, Watch
from wbpf.wire import gather_pb2 as pb

LOG = logging.getLogger("wbpf.agent")
STOP_S = 5.0


class _Flushing:
    """One segment that is flushed, on a thread of its own."""

    def __init__(self, attached: Attached) -> None:
        self.attached = attached
        self.flusher: Flusher | None = None
        self.settled = False  # all that was in the segment at first is flushed, or it can't be
        self.stopped = self.discarded = False
        self.thread: threading.Thread | None = None


class PoolSide:
    """The host as a member of a pool.

    Args:
        path: of the pool.
        host: its name, in the pool too.
        spec: of flushing.

    Raises:
        PoolError: there is no such pool, or it has no such host.
        AccessError: a right is missing.
    """

    def __init__(self, path: Path, host: str, spec: FlushSpec) -> None:
        self._spec = spec
        self._pool = Pool.open(path)
        self._member = self._pool.join(host)
        self.pool_id = self._pool.pool_id
        self.host_ids = [info.host_id for info in self._pool.hosts]
        self.faults: dict[Path, str] = {}
        self._lock = threading.Lock()
        self._flushing: dict[Attached, _Flushing] = {}
        self._reading = threading.Lock()
        self._recovered: dict[int, dict[str, Recovered]] = {}
        self._attached: dict[Recovered, Attached] = {}

    # ---- this host's segments ----

    def attached(self, attached: Attached) -> None:
        """Flush this segment from here on."""
        one = self._flushing[attached] = _Flushing(attached)
        one.thread = threading.Thread(target=self._flush, args=[one], name="flusher", daemon=True)
        one.thread.start()

    def removed(self, attached: Attached) -> None:
        """The segment is gone from the host: its copy goes too."""
        with self._lock:
            one = self._flushing.pop(attached, None)
            if one is None:
                return
            one.stopped = one.discarded = True
            self.faults.pop(attached.path, None)
        if one.flusher is not None:
            one.flusher.stop()

    def _flush(self, one: _Flushing) -> None:
        try:
            flusher = self._make_flusher(one.attached)
            with self._lock:
                one.flusher = flusher
            flusher.round()
            self._settle(one)
            if one.stopped:
                flusher.stop()
            flusher.run()
            if one.discarded:
                self._delete(flusher.region)
        except WbpfError as error:
            LOG.error(
                "a segment is not flushed to the pool",
                extra={"fields": {"path": one.attached.path, "why": str(error)}},
            )
            self.faults[one.attached.path] = f"not flushed to the pool: {error.what}: {error.why}"
            self._settle(one)

    def _make_flusher(self, attached: Attached) -> Flusher:
        try:
            return Flusher(attached.segment, self._member, self._spec)
        except PoolFull:
            self._delete_stale()  # what an earlier agent left makes room
            return Flusher(attached.segment, self._member, self._spec)

    def _settle(self, one: _Flushing) -> None:
        """Regions of an earlier agent are of no use once all that is there is in ours."""
        with self._lock:
            one.settled = True
            if not all(other.settled for other in self._flushing.values()):
                return
        self._delete_stale()

    def _delete_stale(self) -> None:
        with self._lock:
            ours = {one.flusher.region for one in self._flushing.values() if one.flusher is not None}
        for region in regions(self._member, self._member.host_id):
            if region not in ours:
                self._delete(region)

    def _delete(self, region: str) -> None:
        with suppress(WbpfError):  # it is gone already
            self._member.delete(region)

    # ---- hosts that are gone ----

    def search(self, host_id: int, trace_ids: list[bytes]) -> Findings:
        """What a host that is gone had flushed of these traces; takes a moment, so not on the event loop."""
        facts = pb.Recovered(host_id=host_id)
        try:
            with self._reading:
                facts.alive = any(info.alive for info in self._pool.hosts if info.host_id == host_id)
                found, faults = recover(self._member, host_id, self._recovered.get(host_id))
                self._keep(host_id, found)
                segments = [(one, self._attached[one]) for one in found.values()]
        except WbpfError as error:
            return Findings(facts, faults=[f"it could not be read from the pool: {error.what}: {error.why}"])
        if found:
            facts.flushed_unix_ns = min(one.flushed_unix_ns for one in found.values())
            facts.torn = sum(one.torn for one in found.values())
            latest = max(found.values(), key=lambda one: one.flushed_unix_ns)
            facts.incarnation = latest.segment.incarnation
        pieces: dict[bytes, list[tuple[Attached, Piece]]] = {}
        lost = []
        for one, attached in segments:
            watch = Watch(one.segment)
            watch.add(trace_ids)
            here, lost_ticks = watch.poll()
            lost.append((attached, lost_ticks))
            for piece in here:
                pieces.setdefault(piece.trace_id, []).append((attached, piece))
        return Findings(facts, pieces, lost, faults)

    def _keep(self, host_id: int, found: dict[str, Recovered]) -> None:
        """What was read is not read again until there is something new."""
        self._recovered[host_id] = found
        all_found = [one for of_host in self._recovered.values() for one in of_host.values()]
        self._attached = {
            one: self._attached.get(one) or Attached(one.segment.path, one.segment) for one in all_found
        }

    def close(self) -> None:
        """Flush once more, and leave the pool."""
        for one in list(self._flushing.values()):
            one.stopped = True
            if one.flusher is not None:
                one.flusher.stop()
        end_s = time.monotonic() + STOP_S
        for one in list(self._flushing.values()):
            if one.thread is not None:
                one.thread.join(max(end_s - time.monotonic(), 0.0))
        self._flushing.clear()
        self._member.close()
        self._pool.close()
