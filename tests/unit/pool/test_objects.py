from __future__ import annotations

import gc
import signal
import threading
import time

import numpy as np
import pytest

from tests.unit.pool.conftest import PoolMaker
from wbpf.errors import (
    ObjectExists,
    ObjectNotFound,
    ObjectNotSealed,
    PoolError,
    PoolFull,
    StaleViewError,
)
from wbpf.pool import Pool, PoolHost, VerifyResult, ViewReleasedError


def put(host: PoolHost, id: str, content: bytes) -> None:
    with host.create(id, len(content)) as buffer:
        buffer[:] = content


def test_what_one_host_writes_the_other_reads(a: PoolHost, b: PoolHost) -> None:
    with a.create("flights/0", 1000, tags=("red", "blue")) as buffer:
        assert isinstance(buffer, memoryview) and not buffer.readonly
        buffer[:] = bytes(range(250)) * 4
    view = b.get("flights/0")
    assert bytes(view) == bytes(range(250)) * 4
    assert (view.id, len(view), view.size_bytes, view.tags) == ("flights/0", 1000, 1000, ("red", "blue"))
    assert view.verify() is VerifyResult.OK


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4096, 100_001, 1_000_000])
def test_any_size(a: PoolHost, b: PoolHost, size: int) -> None:
    content = np.random.default_rng(size).bytes(size)
    put(a, "x", content)
    with b.get("x") as view:
        assert bytes(view) == content
        assert view.verify() is VerifyResult.OK
        assert view.address % 64 == 0


def test_views_are_read_only_and_in_place(a: PoolHost, b: PoolHost) -> None:
    put(a, "x", b"12345678" * 8)
    view = b.get("x")
    array = np.frombuffer(memoryview(view), np.uint64)
    assert not array.flags.writeable and memoryview(view).readonly
    assert array.ctypes.data == view.address
    with pytest.raises(TypeError):
        memoryview(view)[0] = 1


def test_an_exception_aborts(a: PoolHost, pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError), a.create("x", 100):
        raise ZeroDivisionError
    assert not a.contains("x")
    assert pool.stats().used_bytes == 0
    put(a, "x", b"now")


def test_seal_and_abort_by_hand(a: PoolHost, b: PoolHost, pool: Pool) -> None:
    writer = a.create("x", 3)
    with pytest.raises(ObjectNotSealed):
        b.get("x")
    with pytest.raises(ObjectNotSealed):
        b.delete("x")
    assert pool.stats().unsealed == 1 and writer.open
    writer.buffer[:] = b"abc"
    writer.seal()
    assert not writer.open
    assert b.get("x").generation == writer.generation
    for again in (writer.seal, writer.abort):
        with pytest.raises(PoolError, match="sealed or aborted already"):
            again()
    with pytest.raises(BufferError):
        writer.buffer  # noqa: B018
    other = a.create("y", 3)
    other.abort()
    assert not a.contains("y")


def test_a_forgotten_writer_aborts(a: PoolHost, pool: Pool) -> None:
    writer = a.create("x", 100)
    writer.buffer[:3] = b"abc"
    del writer
    assert pool.stats().used_bytes == 0


def test_ids_are_taken_once(a: PoolHost, b: PoolHost) -> None:
    put(a, "x", b"1")
    with pytest.raises(ObjectExists, match=r"can't create 'x'"):
        b.create("x", 1)


@pytest.mark.parametrize("id", ["", "i" * 64, "é" * 32, "a\0b"])
def test_bad_ids(a: PoolHost, id: str) -> None:
    with pytest.raises(PoolError, match="can't be an id"):
        a.create(id, 1)
    with pytest.raises(PoolError, match="can't be an id"):
        a.get(id)


def test_generations_only_grow(a: PoolHost) -> None:
    seen = []
    for _ in range(10):
        put(a, "x", b"1")
        seen.append(a.get("x").generation)
        a.delete("x")
    assert seen == sorted(set(seen))


def test_get_waits_for_the_seal(a: PoolHost, b: PoolHost) -> None:
    def write() -> None:
        with a.create("late", 4) as buffer:
            time.sleep(0.05)
            buffer[:] = b"done"

    for limit in (10.0, float("inf")):
        writer = threading.Thread(target=write)
        writer.start()
        assert bytes(b.get("late", limit)) == b"done"
        writer.join()
        a.delete("late")


def test_get_waits_no_longer_than_told(a: PoolHost) -> None:
    start = time.monotonic()
    with pytest.raises(ObjectNotFound):
        a.get("never", 0.05)
    assert 0.05 <= time.monotonic() - start < 5
    with pytest.raises(ValueError, match="timeout_s"):
        a.get("never", -1)


class Interrupted(Exception):
    pass


def test_a_waiting_get_can_be_interrupted(a: PoolHost) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            a.get("never", float("inf"))
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        start = time.monotonic()
        with pytest.raises(ObjectNotFound):
            a.get("never", 0.1)
        assert 0.1 <= time.monotonic() - start < 5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_delete_waits_for_views(a: PoolHost, b: PoolHost, pool: Pool) -> None:
    put(a, "x", b"old")
    view = b.get("x")
    assert a.delete("x") is False
    with pytest.raises(ObjectNotFound):
        b.get("x")
    put(a, "x", b"new")  # the id is free at once
    assert bytes(view) == b"old" and view.verify() is VerifyResult.OK
    assert pool.stats().deleted_in_use == 1
    view.release()
    assert pool.stats().deleted_in_use == 0
    assert a.delete("x") is True
    assert pool.stats().used_bytes == 0


def test_forced_delete_makes_views_stale(a: PoolHost, b: PoolHost, pool: Pool) -> None:
    put(a, "x", b"old")
    view = b.get("x")
    assert a.delete("x", force=True) is True
    assert pool.stats().used_bytes == 0
    put(a, "y", b"new")  # over the same bytes
    for use in (view.verify, view.refresh, view.seen, view.load, lambda: view.tags, lambda: memoryview(view)):
        with pytest.raises(StaleViewError):
            use()
    view.release()
    assert bytes(b.get("y")) == b"new"
    pool.check()


def test_released_views_are_used_no_more(a: PoolHost) -> None:
    put(a, "x", b"1")
    with a.get("x") as view:
        assert not view.released
    assert view.released
    view.release()
    for use in (view.verify, view.refresh, view.seen, lambda: memoryview(view)):
        with pytest.raises(ViewReleasedError):
            use()


def test_arrays_outlive_release_and_host(make_pool: PoolMaker) -> None:
    pool = make_pool()
    host = pool.join("b")
    put(host, "x", b"\7" * 1000)
    view = host.get("x")
    array = np.frombuffer(memoryview(view), np.uint8)
    view.release()
    assert host.delete("x") is False  # the array still holds it
    put(host, "y", b"\1" * 1000)
    host.close()
    del view, host
    pool.unlink()
    gc.collect()
    assert (array == 7).all()
    assert pool.stats().references == 1
    del array
    assert pool.stats().references == 0 and pool.stats().objects == 1


def test_late_writes_hurt_nobody(a: PoolHost, b: PoolHost, pool: Pool) -> None:
    with a.create("x", 64) as buffer:
        array = np.frombuffer(buffer, np.uint8)
        array[:] = 1
    array[:] = 2  # sealed: no other host sees it, and the memory is not given away while the array lives
    assert bytes(b.get("x")) == b"\1" * 64
    assert a.delete("x") is False
    put(b, "y", b"\3" * 64)
    array[:] = 4
    assert bytes(b.get("y")) == b"\3" * 64 == bytes(a.get("y"))
    del array, buffer
    assert pool.stats().deleted_in_use == 0


def test_full_pool_says_so(make_pool: PoolMaker) -> None:
    pool = make_pool(1 << 20, max_objects=100)
    host = pool.join("a")
    free = pool.stats().largest_free_bytes
    with pytest.raises(PoolFull, match="no free extent is that large"):
        host.create("x", free)
    put(host, "x", bytes(free - 64))  # all but the envelope
    with pytest.raises(PoolFull):
        host.create("y", 0)
    host.delete("x")
    for i in range(100):
        put(host, str(i), b"")
    with pytest.raises(PoolFull, match="directory is full"):
        host.create("x", 0)


def test_too_many_views_of_a_process(make_pool: PoolMaker) -> None:
    host = make_pool(1 << 20, max_objects=64).join("a")
    put(host, "x", b"1")
    views = [host.get("x") for _ in range(64)]
    with pytest.raises(PoolFull, match="release views"):
        host.get("x")
    del views
    host.get("x")


def test_coherent_pool_reads_in_the_segment(make_pool: PoolMaker) -> None:
    pool = make_pool(coherent=True)
    a, b = pool.join("a"), pool.join("b")
    put(a, "x", b"12345678")
    assert bytes(b.get("x")) == b"12345678" and b.get("x").verify() is VerifyResult.OK
    assert a.flush("x") == b.invalidate("x") == 0
    assert pool.path.with_name("pool0.a").stat().st_size < 100_000  # no mirror


def test_threads_share_a_host(a: PoolHost, b: PoolHost, pool: Pool) -> None:
    errors: list[BaseException] = []

    def work(number: int, host: PoolHost) -> None:
        try:
            for i in range(300):
                id, content = f"{number}/{i}", bytes([number]) * (100_000 if i % 50 == 0 else 100 * number)
                put(host, id, content)
                with host.get(id) as view:
                    assert view.verify() is VerifyResult.OK and bytes(view) == content
                assert host.delete(id)
        except (AssertionError, PoolError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n, (a, b)[n % 2])) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert pool.stats().used_bytes == 0
    pool.check()
