from __future__ import annotations

from wbpf.pool import Pool, PoolHost, VerifyResult, faults


def put(host: PoolHost, id: str, content: bytes) -> None:
    with host.create(id, len(content)) as buffer:
        buffer[:] = content


def replace(a: PoolHost, b: PoolHost, old: bytes, new: bytes) -> tuple[int, int]:
    """Host b has read `old`, then a puts `new` at the same address; returns both generations."""
    put(a, "old", old)
    with b.get("old") as view:
        old_generation = view.generation
    a.delete("old")
    put(a, "new", new)
    with a.get("new") as view:
        return old_generation, view.generation


def test_a_skipped_invalidate_shows_the_old_object(a: PoolHost, b: PoolHost) -> None:
    old_generation, new_generation = replace(a, b, b"o" * 640, b"n" * 640)
    armed = faults.arm_skip_invalidate(b, "new")
    assert not armed.result().fired
    view = b.get("new")
    assert bytes(view) == b"o" * 640
    assert view.verify() is VerifyResult.GENERATION_MISMATCH
    seen = view.seen()
    assert seen is not None
    assert (seen.generation, view.generation) == (old_generation, new_generation)
    assert seen.writer_host_id == a.host_id and seen.size_bytes == 640
    view.refresh()
    assert bytes(view) == b"n" * 640 and view.verify() is VerifyResult.OK
    result = armed.result()
    assert result.fired and result.finished and result.took_effect
    assert (result.lines_stale, result.lines_differing, result.generation) == (11, 11, new_generation)
    assert bytes(b.get("new")) == b"n" * 640  # one get alone


def test_without_a_fault_no_byte_is_old(a: PoolHost, b: PoolHost) -> None:
    replace(a, b, b"o" * 640, b"n" * 640)
    with b.get("new") as view:
        assert bytes(view) == b"n" * 640 and view.verify() is VerifyResult.OK


def test_partly_old_bytes_fail_the_checksum(a: PoolHost, b: PoolHost, pool: Pool) -> None:
    replace(a, b, b"o" * 640, b"n" * 640)
    assert b.invalidate((0, 128)) == 2  # the envelope and the first line of the payload
    armed = faults.arm_skip_invalidate(b, "new")
    view = b.get("new")
    assert bytes(view) == b"n" * 64 + b"o" * 576
    assert view.verify() is VerifyResult.CHECKSUM_MISMATCH
    assert armed.result().lines_stale == 9
    view.refresh()
    assert view.verify() is VerifyResult.OK


def test_old_lines_with_the_same_bytes(a: PoolHost, b: PoolHost) -> None:
    replace(a, b, b"s" * 640, b"s" * 640)
    armed = faults.arm_skip_invalidate(b, "new")
    view = b.get("new")
    assert view.verify() is VerifyResult.GENERATION_MISMATCH  # the envelope differs always
    assert (armed.result().lines_stale, armed.result().lines_differing) == (11, 1)


def test_without_old_lines_the_fault_takes_no_effect(a: PoolHost, b: PoolHost) -> None:
    put(a, "x", b"x" * 640)
    armed = faults.arm_skip_invalidate(b, "x")
    with b.get("x") as view:
        assert view.verify() is VerifyResult.OK
    result = armed.result()
    assert result.fired and result.finished and not result.took_effect and result.lines_stale == 0


def test_the_writer_s_own_cache_is_fresh(a: PoolHost) -> None:
    put(a, "x", b"x" * 640)
    armed = faults.arm_skip_invalidate(a, "x")
    with a.get("x") as view:
        assert bytes(view) == b"x" * 640
    assert not armed.result().took_effect


def test_flush_and_invalidate_by_hand(a: PoolHost, b: PoolHost) -> None:
    writer = a.create("x", 640)
    writer.buffer[:] = b"1" * 640
    assert a.flush("x") == 11
    assert a.flush("x") == 0  # clean now
    assert a.invalidate((0, 1)) == 1
    assert a.invalidate((0, 704)) == 10
    writer.buffer[:] = b"2" * 640
    writer.seal()  # writes everything back once more
    with b.get("x") as view:
        assert bytes(view) == b"2" * 640 and view.verify() is VerifyResult.OK
    assert b.invalidate("x") == 11
    assert b.invalidate("x") == 0


def test_dirty_lines_are_not_invalidated(a: PoolHost, b: PoolHost) -> None:
    writer = a.create("x", 640)
    writer.buffer[:] = b"1" * 640
    assert a.invalidate("x") == 0
    writer.seal()
    assert bytes(b.get("x")) == b"1" * 640


def test_a_new_incarnation_starts_with_an_empty_cache(pool: Pool, a: PoolHost) -> None:
    with pool.join("b") as b:
        replace(a, b, b"o" * 640, b"n" * 640)
    with pool.join("b") as b:
        armed = faults.arm_skip_invalidate(b, "new")
        with b.get("new") as view:
            assert bytes(view) == b"n" * 640
        assert not armed.result().took_effect


def test_members_of_a_host_share_its_cache(pool: Pool, a: PoolHost, b: PoolHost) -> None:
    replace(a, b, b"o" * 640, b"n" * 640)
    with pool.join("b") as other:
        armed = faults.arm_skip_invalidate(b, "new")
        with other.get("new") as view:
            assert bytes(view) == b"o" * 640
        assert armed.result().took_effect
