"""The store against a dict: whatever is done in whatever order, contents, ids and space are the model's."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from wbpf.errors import ObjectExists, ObjectNotFound, ObjectNotSealed, PoolFull
from wbpf.pool import ObjectWriter, Pool, PoolView, VerifyResult

IDS = st.sampled_from([f"object/{i}" for i in range(12)])
SIZES = st.integers(0, 300) | st.integers(0, 40_000)
HOSTS = st.integers(0, 1)


def lines(size: int) -> int:
    return 64 * (1 + -(-size // 64))


def content_of(id: str, size: int, generation: int) -> bytes:
    return bytes((generation + len(id) + i) % 251 for i in range(size))


class StoreMachine(RuleBasedStateMachine):
    """Two hosts in one process; `sealed` is what the pool should hold, `held` what views should show."""

    writers = Bundle("writers")
    views = Bundle("views")

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(f"/dev/shm/wbpf-test-model-{os.getpid()}")
        Pool.unlink_path(self.path)
        self.pool = Pool.create(self.path, 512 << 10, hosts=("a", "b"), max_objects=64)
        self.hosts = [self.pool.join("a"), self.pool.join("b")]
        self.sealed: dict[str, tuple[bytes, int]] = {}
        self.unsealed: dict[str, int] = {}
        self.held: list[tuple[PoolView, str, bytes, int]] = []

    def space(self) -> int:
        """Of what is sealed, unsealed, or only held."""
        spaces = {generation: lines(len(content)) for content, generation in self.sealed.values()}
        spaces |= {generation: lines(len(content)) for _, _, content, generation in self.held}
        return sum(spaces.values()) + sum(lines(size) for size in self.unsealed.values())

    @rule(target=writers, host=HOSTS, id=IDS, size=SIZES)
    def create(self, host: int, id: str, size: int) -> tuple[ObjectWriter | None, str, int]:
        try:
            writer = self.hosts[host].create(id, size)
        except ObjectExists:
            assert id in self.sealed or id in self.unsealed
        except PoolFull:
            assert self.pool.stats().largest_free_bytes < lines(size)
        else:
            assert id not in self.sealed and id not in self.unsealed
            self.unsealed[id] = size
            return writer, id, size
        return None, id, size

    @rule(what=consumes(writers), abort=st.booleans())
    def finish(self, what: tuple[ObjectWriter | None, str, int], abort: bool) -> None:
        writer, id, size = what
        if writer is None:
            return
        del self.unsealed[id]
        if abort:
            writer.abort()
            return
        content = content_of(id, size, writer.generation)
        writer.buffer[:] = content
        writer.seal()
        self.sealed[id] = content, writer.generation

    @rule(host=HOSTS, id=IDS)
    def get(self, host: int, id: str) -> None:
        try:
            view = self.hosts[host].get(id)
        except ObjectNotFound:
            assert id not in self.sealed and id not in self.unsealed
        except ObjectNotSealed:
            assert id in self.unsealed
        else:
            content, generation = self.sealed[id]
            assert view.generation == generation
            self.held.append((view, id, content, generation))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        view, id, content, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        assert view.id == id and bytes(view) == content and view.verify() is VerifyResult.OK
        view.release()

    @rule(host=HOSTS, id=IDS)
    def delete(self, host: int, id: str) -> None:
        try:
            freed = self.hosts[host].delete(id)
        except ObjectNotFound:
            assert id not in self.sealed and id not in self.unsealed
        except ObjectNotSealed:
            assert id in self.unsealed
        else:
            _, generation = self.sealed.pop(id)
            assert freed == all(held != generation for *_, held in self.held)

    @invariant()
    def adds_up(self) -> None:
        self.pool.check()
        stats = self.pool.stats()
        assert stats.used_bytes == self.space()
        assert (stats.objects, stats.unsealed) == (len(self.sealed), len(self.unsealed))
        assert stats.used_bytes + stats.free_bytes == stats.capacity_bytes

    @invariant()
    def views_show_what_they_did(self) -> None:
        for view, _, content, _ in self.held[-3:]:
            assert bytes(view) == content

    def teardown(self) -> None:
        for host in self.hosts:
            host.close()
        self.pool.close()
        self.pool.unlink()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
