"""Records belong to the trace and span of the code that wrote them, wherever it ran."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.recorder.running import run
from tests.unit.recorder.reading import NO_TRACE, events, read_trace, segment_in, trace_ids
from wbpf.records import Trace


def traces(directory: Path) -> dict[str, Trace]:
    """By the name of their first span."""
    path = segment_in(directory)
    found = [read_trace(path, trace_id) for trace_id in trace_ids(path)]
    return {
        next(record.name for record in trace.records if record.kind_name == "begin"): trace for trace in found
    }


def test_tasks_that_interleave_on_one_thread(tmp_path: Path) -> None:
    run(
        """
        import random
        rng = random.Random(4)

        @wbpf.traced("pause")
        async def pause():
            await asyncio.sleep(rng.random() * 0.002)

        async def child(n, i):
            with wbpf.span(f"child.{i}"):
                await pause()
                wbpf.event("in.child", n=n, i=i)

        async def request(n):
            with wbpf.trace(f"request.{n}", n=n):
                for i in range(3):
                    wbpf.event("at.root", n=n, i=-1)
                    with wbpf.span(f"span.{i}"):
                        await pause()
                        wbpf.event("in.span", n=n, i=i)
                await asyncio.gather(*(child(n, i) for i in range(3)))
                await asyncio.create_task(child(n, 3))
            wbpf.event("outside")

        async def main():
            await asyncio.gather(*(request(n) for n in range(40)))
            assert wbpf.current() is None

        asyncio.run(main())
        """,
        tmp_path,
    )
    found = traces(tmp_path)
    assert set(found) == {f"request.{n}" for n in range(40)}
    for name, trace in found.items():
        n = int(name.partition(".")[2])
        spans = {span.span_id: span.name for _, span in trace.spans()}
        seen = [(r.name, r.fields["n"], r.fields["i"], spans[r.span_id]) for r in events(trace)]
        assert sorted(seen) == sorted(
            [("at.root", n, -1, name)] * 3
            + [("in.span", n, i, f"span.{i}") for i in range(3)]
            + [("in.child", n, i, f"child.{i}") for i in range(4)]
        )
        assert all(span.end_unix_ns is not None for _, span in trace.spans())
        (root,) = trace.roots
        assert sorted(child.name for child in root.children) == sorted(
            [f"span.{i}" for i in range(3)] + [f"child.{i}" for i in range(4)]
        )
        assert all([grandchild.name for grandchild in child.children] == ["pause"] for child in root.children)
    outside = events(read_trace(segment_in(tmp_path), NO_TRACE))
    assert [record.name for record in outside] == ["outside"] * 40


def test_threads_have_a_trace_if_they_copied_the_context(tmp_path: Path) -> None:
    run(
        """
        import contextvars
        from concurrent.futures import ThreadPoolExecutor

        def record(how, n):
            with wbpf.span(how):
                wbpf.event(how, n=n)
                time.sleep(0.001)
                wbpf.event(how, n=n)

        async def request(n, pool):
            with wbpf.trace(f"request.{n}"):
                loop = asyncio.get_running_loop()
                await asyncio.to_thread(record, "to_thread", n)
                await loop.run_in_executor(pool, record, "executor", n)
                await loop.run_in_executor(pool, contextvars.copy_context().run, record, "copied", n)
                thread = threading.Thread(target=contextvars.copy_context().run, args=(record, "thread", n))
                thread.start()
                await asyncio.sleep(0.002)
                thread.join()
                plain = threading.Thread(target=record, args=("plain", n))
                plain.start()
                plain.join()

        async def main():
            with ThreadPoolExecutor(3) as pool:
                await asyncio.gather(*(request(n, pool) for n in range(12)))

        asyncio.run(main())
        """,
        tmp_path,
    )
    for name, trace in traces(tmp_path).items():
        n = int(name.partition(".")[2])
        assert sorted((r.name, r.fields["n"]) for r in events(trace)) == sorted(
            [("to_thread", n), ("copied", n), ("thread", n)] * 2
        )
        (root,) = trace.roots
        assert sorted(child.name for child in root.children) == ["copied", "thread", "to_thread"]
        assert len({record.tid for record in trace.records}) >= 3
    alone = events(read_trace(segment_in(tmp_path), NO_TRACE))
    assert sorted((r.name, r.fields["n"]) for r in alone) == sorted(
        [(how, n) for how in ("executor", "plain") for n in range(12)] * 2
    )


def test_generators_closed_elsewhere_end_their_own_trace(tmp_path: Path) -> None:
    run(
        """
        async def numbers(n):
            with wbpf.trace(f"generator.{n}"):
                with wbpf.span("yielding"):
                    for i in range(3):
                        wbpf.event("step", n=n)
                        yield i

        async def request(n):
            with wbpf.trace(f"request.{n}"):
                generator = numbers(n)
                async for _ in generator:
                    await asyncio.sleep(0)
                    break
                await asyncio.create_task(generator.aclose())
            with wbpf.trace(f"after.{n}"):
                wbpf.event("mine", n=n)

        async def main():
            await asyncio.gather(*(request(n) for n in range(10)))

        asyncio.run(main())
        """,
        tmp_path,
    )
    found = traces(tmp_path)
    assert len(found) == 30
    for name, trace in found.items():
        kind, _, n = name.partition(".")
        expected = {"generator": "step", "request": None, "after": "mine"}[kind]
        mine = [record for record in events(trace) if record.name != "exception"]
        assert [(record.name, record.fields["n"]) for record in mine] == (
            [(expected, int(n))] if expected else []
        )
        assert all(span.end_unix_ns is not None for _, span in trace.spans())


def test_a_pickled_context_goes_on_in_another_process(tmp_path: Path) -> None:
    out = run(
        """
        import pickle, subprocess
        child = '''
        import pickle, sys, wbpf
        wbpf.open()
        context = pickle.loads(bytes.fromhex(sys.argv[1]))
        with wbpf.trace("there", parent=context):
            wbpf.event("in.child")
        '''
        import textwrap
        with wbpf.trace("here") as trace:
            sent = wbpf.send("host1")
            command = [sys.executable, "-c", textwrap.dedent(child), pickle.dumps(sent).hex()]
            subprocess.run(command, check=True)
        print(json.dumps(trace.trace_id))
        """,
        tmp_path,
    )
    trace = read_trace(segment_in(tmp_path), json.loads(out))
    (root,) = trace.roots
    (edge,) = root.children
    assert (root.name, edge.kind, [child.name for child in edge.children]) == ("here", "client", ["there"])
    assert len({record.pid for record in trace.records}) == 2
