"""Threads as strands: when they began and ended, who started them, and what a pool's thread does for whom."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._judge.overlap import Overlap, judge
from pytest_concurrency._record import asyncio as asyncio_source
from pytest_concurrency._record import thread_strands
from pytest_concurrency._record.door import Doors
from pytest_concurrency._record.recorder import Recorder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from pytest_concurrency._trace import Strand, Trace

# A test that hangs is a failure.
SOON = 20


def recorded(body: Callable[[], object]) -> Trace:
    recorder = Recorder()
    with (
        asyncio_source.record(recorder, Doors(recorder)),
        thread_strands.record(recorder),
    ):
        recorder.in_body = True
        body()
        recorder.in_body = False
    return recorder.trace()


def started(trace: Trace) -> list[Strand]:
    return [strand for strand in trace.strands if strand.started_by_test]


def meet(count: int) -> Callable[[], object]:
    """Return a function that ends when *count* threads are in it."""
    return functools.partial(threading.Barrier(count).wait, SOON)


def run_threads(*functions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)


def test_a_thread_is_a_strand_with_a_begin_an_end_a_parent_and_a_line() -> None:
    trace = recorded(lambda: run_threads(lambda: None))

    (strand,) = started(trace)
    assert strand.kind == "thread"
    assert strand.last is not None
    assert strand.first < strand.last
    assert strand.parent is not None
    assert trace.strand(strand.parent).name == threading.current_thread().name
    assert strand.place is not None
    assert (strand.place.file, strand.place.function) == (__file__, "run_threads")


def test_two_threads_that_meet_overlap_and_two_in_a_row_do_not() -> None:
    both = meet(2)

    def in_turn() -> None:
        run_threads(lambda: None)
        run_threads(lambda: None)

    assert judge(recorded(lambda: run_threads(both, both)), Overlap()).status == "held"
    assert judge(recorded(in_turn), Overlap()).status == "broken"


def test_a_thread_that_a_fixture_started_is_none_of_the_tests() -> None:
    recorder = Recorder()
    with thread_strands.record(recorder):
        run_threads(lambda: None)

    assert started(recorder.trace()) == []


def test_an_idle_worker_is_no_work_in_progress() -> None:
    def body() -> None:
        with ThreadPoolExecutor(2) as pool:
            both = meet(2)
            for future in [pool.submit(both), pool.submit(both)]:
                future.result(SOON)
            ready.append(len(pool._threads))

    def one_by_one() -> None:
        with ThreadPoolExecutor(2) as pool:
            for _ in range(20):
                pool.submit(int).result(SOON)

    ready: list[int] = []
    trace = recorded(body)
    assert ready == [2]
    assert judge(trace, Overlap()).found == 2
    assert len(trace.jobs) == 2

    trace = recorded(one_by_one)
    assert len(trace.jobs) == 20
    assert judge(trace, Overlap()).found == 1


def test_a_job_knows_who_handed_it_in_and_where() -> None:
    def body() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int).result(SOON)

    trace = recorded(body)

    (job,) = trace.jobs
    assert trace.strand(job.strand).kind == "worker"
    assert job.place is not None
    assert job.place.function.endswith("body")
    assert job.by is not None
    assert trace.strand(job.by).name == threading.current_thread().name
    assert job.last is not None
    assert job.submitted < job.first < job.last


def test_a_job_that_raises_has_ended() -> None:
    def body() -> None:
        with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="x"):
            pool.submit(int, "x").result(SOON)

    assert recorded(body).jobs[0].last is not None


def test_to_thread_is_a_job_of_the_task_that_awaits_it() -> None:
    async def main() -> None:
        both = meet(2)
        await asyncio.gather(asyncio.to_thread(both), asyncio.to_thread(both))

    trace = recorded(lambda: asyncio.run(main()))

    assert len(trace.jobs) == 2
    assert {trace.strand(job.by or 0).kind for job in trace.jobs} == {"asyncio-task"}
    assert all(job.place is not None and job.place.function.endswith("main") for job in trace.jobs)


def test_a_thread_that_runs_a_loop_leaves_the_work_to_its_tasks() -> None:
    async def nothing() -> None: ...

    async def main(meet: Callable[[], object]) -> None:
        meet()

    def one_loop() -> None:
        run_threads(lambda: asyncio.run(nothing()))

    both = meet(2)
    assert judge(recorded(one_loop), Overlap()).found == 1
    run = functools.partial(run_threads, *[lambda: asyncio.run(main(both))] * 2)
    assert judge(recorded(run), Overlap()).found == 2


def test_a_queues_feeder_is_not_the_tests_work() -> None:
    def body() -> None:
        import multiprocessing

        queue: Any = multiprocessing.get_context("spawn").Queue()
        queue.put(1)
        assert queue.get(timeout=SOON) == 1
        queue.close()
        queue.join_thread()

    assert started(recorded(body)) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_and_trio_workers_do_jobs(backend: str) -> None:
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(backend)
    both = meet(2)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, both)
            group.start_soon(anyio.to_thread.run_sync, both)

    trace = recorded(lambda: anyio.run(main, backend=backend))

    assert len(trace.jobs) == 2
    assert len({job.strand for job in trace.jobs}) == 2


def test_everything_is_put_back() -> None:
    before = threading.Thread.start, threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    recorded(lambda: None)

    assert (threading.Thread.start, threading.Thread._bootstrap_inner) == before  # type: ignore[attr-defined]


def test_a_thread_that_outlives_the_recording_ends_in_peace() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(SOON,))

    trace = recorded(lambda: thread.start())  # looked up while it is recorded
    go.set()
    thread.join(SOON)

    assert not thread.is_alive()
    assert started(trace)[0].last is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_runs_watched_functions_and_threads_as_if_nobody_looked(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run_python(FORKED, "-W", "ignore")

    assert (result.stdout.split(), result.stderr) == (["child", "parent", "0"], "")


FORKED = """
import os, threading
import pytest_concurrency

def work():
    return 1

with pytest_concurrency.record() as concurrency:
    concurrency.watch("__main__:work")
    inside, go = threading.Event(), threading.Event()

    def hold():
        # As if the fork came in the middle of a record.
        with concurrency._session.recorder._lock:
            inside.set()
            go.wait()

    threading.Thread(target=hold).start()
    inside.wait()
    pid = os.fork()
    if not pid:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert work() == 1
        print("child", flush=True)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    go.set()
    print("parent", status)
"""
