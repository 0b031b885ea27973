"""Processes and whole hosts die by SIGKILL; the others go on, and nothing is lost but what the dead held."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

import pytest

from tests.integration.pool.processes import churn, hold, started, wait_for
from tests.unit.pool.conftest import PoolMaker
from wbpf.pool import Pool, PoolHost, VerifyResult


def test_what_a_dead_process_held_is_taken_back(pool: Pool, a: PoolHost) -> None:
    a.put("x", b"1" * 100)
    with started(hold, str(pool.path), "b", "x") as (process, pipe):
        generation, _ = pipe.recv()
        assert a.get("x").generation == generation
        assert a.delete("x") is False
        assert pool.reclaim().processes == 0  # it lives
        stats = pool.stats()
        assert (stats.references, stats.unsealed, stats.deleted_in_use) == (2, 1, 1)
        assert pool.hosts[1].alive
        process.kill()
        process.join()
        assert not pool.hosts[1].alive
        reclaimed = pool.reclaim()
        assert (reclaimed.processes, reclaimed.objects) == (1, 1)
        assert reclaimed.references >= 1
    assert pool.stats().used_bytes == 0
    pool.check()


def test_space_of_the_dead_is_taken_back_when_it_is_needed(make_pool: PoolMaker) -> None:
    pool = make_pool(1 << 20)
    a = pool.join("a")
    a.put("x", b"1")
    with started(hold, str(pool.path), "b", "x") as (process, pipe):
        pipe.recv()
        process.kill()
        process.join()
    a.delete("x")
    free = pool.stats().free_bytes
    capacity = pool.stats().capacity_bytes
    assert free < capacity
    a.create("all of it", capacity - 64).abort()


def test_a_host_that_comes_back_is_another_incarnation(pool: Pool, a: PoolHost) -> None:
    a.put("x", b"1")
    with started(hold, str(pool.path), "b", "x") as (process, pipe):
        pipe.recv()
        first = pool.hosts[1].incarnation
        process.kill()
        process.join()
    with pool.join("b") as b:
        assert b.incarnation != first
        assert b.get("x").verify() is VerifyResult.OK


@pytest.mark.timeout(120)
def test_members_killed_at_random_leave_a_pool_that_adds_up(make_pool: PoolMaker) -> None:
    pool = make_pool(hosts=("a", "b", "c"))
    generator = random.Random(7)
    with contextlib.ExitStack() as stack:
        _, survivor = stack.enter_context(started(churn, str(pool.path), "a", 0))
        assert survivor.recv() == "ready"
        for seed in range(1, 13):
            with started(churn, str(pool.path), "bc"[seed % 2], seed) as (process, pipe):
                assert pipe.recv() == "ready"
                time.sleep(0.02 + 0.1 * generator.random())
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                pool.check()
        survivor.send("stop")
        rounds, wrong = survivor.recv()
    assert rounds > 1000 and wrong == 0
    pool.reclaim()
    pool.check()
    stats = pool.stats()
    assert stats.references == stats.unsealed == stats.deleted_in_use == 0
    with pool.join("a") as host:
        for seed in range(13):
            for number in range(50):
                if host.contains(f"{seed}/{number}"):
                    assert host.get(f"{seed}/{number}").verify() is VerifyResult.OK
                    assert host.delete(f"{seed}/{number}")
    assert pool.stats().used_bytes == 0


def test_hosts_work_at_the_same_time(make_pool: PoolMaker) -> None:
    pool = make_pool(8 << 20, hosts=("a", "b", "c"))
    with contextlib.ExitStack() as stack:
        members = [
            stack.enter_context(started(churn, str(pool.path), host, seed))
            for seed, host in enumerate("aabc")
        ]
        assert [pipe.recv() for _, pipe in members] == ["ready"] * 4
        time.sleep(1)
        for _, pipe in members:
            pipe.send("stop")
        results = [pipe.recv() for _, pipe in members]
    assert all(rounds > 100 and wrong == 0 for rounds, wrong in results), results
    pool.check()
    assert pool.stats().recoveries == 0


def test_a_waiting_get_wakes_in_another_process(pool: Pool, a: PoolHost) -> None:
    with (
        started(wait_for, str(pool.path), "b", "late") as (_, first),
        started(wait_for, str(pool.path), "b", "late") as (second_process, second),
    ):
        assert first.recv() == second.recv() == "ready"
        time.sleep(0.05)
        second_process.kill()  # a dead waiter is in nobody's way
        with a.create("late", 4) as buffer:
            buffer[:] = b"done"
        assert first.recv() == b"done"


def test_children_of_fork_are_members_of_their_own(pool: Pool, a: PoolHost) -> None:
    a.put("x", b"1")
    held = a.get("x")
    writer = a.create("half", 10)
    pid = os.fork()
    if pid == 0:
        held.release()  # the parent's, not the child's
        with contextlib.suppress(Exception):
            writer.seal()
        a.put("by the child", 2)
        view = a.get("x")
        os._exit(0 if pool.stats().references == 3 and not view.released else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert a.load("by the child") == 2
    assert pool.reclaim().processes == 1  # the child
    assert pool.stats().references == 2 and not a.contains("half")
    writer.seal()
    assert held.verify() is VerifyResult.OK
    assert pool.stats().references == 1
