from __future__ import annotations

from bench.recorder.cores import cores_used
from bench.recorder.path import RUNS, SLEEPS, WAITS, Step, Threads
from bench.recorder.scheduler import Event, Kind

A, B, OTHER = 1, 2, 99


def switch(at: int, thread: int, to: int, runnable: bool = False, cpu: int = 0) -> Event:
    return Event(at, Kind.SWITCH, cpu, thread, thread, to, to, runnable, 0)


def waking(at: int, thread: int, by: int) -> Event:
    return Event(at, Kind.WAKING, 0, thread, thread, by, by, 0, 0)


def flushed(at: int, thread: int) -> Event:
    return Event(at, Kind.FLUSHED, 0, thread, thread, 0, 0, 0, 0)


EVENTS = [
    switch(1, 0, A),
    waking(10, B, by=A),
    switch(15, A, B),
    switch(20, B, OTHER, runnable=True),
    switch(25, OTHER, B),
    flushed(30, B),
    switch(31, B, OTHER),
    waking(40, B, by=OTHER),
    switch(41, OTHER, B),
    switch(50, B, 0),
]


def test_the_path_goes_back_to_who_woke_whom() -> None:
    threads = Threads(EVENTS, [A, B])
    assert list(threads.path(B, 30, 5)) == [
        Step(B, RUNS, 25, 30),
        Step(B, WAITS, 20, 25),
        Step(B, RUNS, 15, 20),
        Step(B, WAITS, 10, 15),
        Step(A, RUNS, 5, 10),
    ]


def test_who_is_woken_by_somebody_else_has_slept() -> None:
    threads = Threads(EVENTS, [A, B])
    assert list(threads.path(B, 45, 31))[1:] == [Step(B, WAITS, 40, 41), Step(B, SLEEPS, 31, 40)]


def test_a_thread_that_is_woken_before_it_sleeps_goes_on() -> None:
    threads = Threads([switch(1, 0, B), waking(5, B, by=A), switch(9, B, 0)], [A, B])
    assert list(threads.path(B, 8, 2)) == [Step(B, RUNS, 2, 8)]


def test_the_last_flush_is_found() -> None:
    threads = Threads([flushed(3, B), flushed(7, B), flushed(12, B)], [B])
    assert threads.last_flush(B, 10).mono_ns == 7


def test_cores_are_counted_inside_of_the_times_alone() -> None:
    used = cores_used(EVENTS, {A: "a", B: "b"}, [(5, 15), (18, 28)])
    assert used == {"a": 0.5, "b": 0.25, "other programs": 0.25}
