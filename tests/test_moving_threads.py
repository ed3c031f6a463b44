"""Which threads could still bring something in: a pool's worker from the moment in which it has been given a job."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from pytest_concurrency._record.threads import moving_threads


def moving(known: frozenset[int]) -> list[str]:
    return list(moving_threads(known, exclude=threading.get_ident()))


def others() -> frozenset[int]:
    return frozenset(thread.ident or 0 for thread in threading.enumerate())


def comes_to_rest(known: frozenset[int]) -> bool:
    # A worker counts itself as idle just after it has answered.
    return any(not moving(known) for _ in range(100_000))


def test_a_worker_without_a_job_does_not_move_and_one_with_a_job_does() -> None:
    before = others()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(200):
            pool.submit(int).result()
            stop = threading.Event()

            def work(stop: threading.Event = stop) -> None:
                while not stop.is_set():
                    pass

            job = pool.submit(work)
            # Whether or not the worker is awake yet.
            assert moving(before)
            stop.set()
            job.result()
        assert comes_to_rest(before)


def test_a_job_that_was_accepted_and_that_nobody_has_begun_will_move() -> None:
    before = others()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        assert comes_to_rest(before)
        # What `submit` does first where a worker is idle.
        assert pool._idle_semaphore.acquire(timeout=0)
        assert moving(before) == ["a worker thread that has been given a job"]
        pool._idle_semaphore.release()


def test_workers_that_wait_for_something_else_leave_the_idle_ones_alone() -> None:
    before = others()
    gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(gate.wait), pool.submit(int)]
        jobs[1].result()
        assert comes_to_rest(before)
        gate.set()
