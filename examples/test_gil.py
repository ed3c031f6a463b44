"""What the GIL forbids and what it does not: the claims P1 to P3 of the notes.

Run it with `pytest examples/test_gil.py`. You will see threads that are in progress at the same time and still take
turns, threads whose waits do overlap, and processes that compute side by side, even on a machine that has no time.

Two words that the notes do not keep apart. *Concurrent*: in progress at the same time. *Parallel*: really executed at
the same time. A cook with two pots is concurrent; two cooks are parallel. `must_overlap` asks for the first,
`must_run_in_parallel` for the second.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import lesson_work
import pytest

from pytest_concurrency import ParallelismError

if TYPE_CHECKING:
    from collections.abc import Iterator

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
TWO_AND_FOUR = pytest.mark.parametrize("many", [2, 4])
COUNT = partial(lesson_work.count, 6_000_000)


# P1


def count_in_threads(many: int) -> None:
    barrier = threading.Barrier(many)
    threads = [threading.Thread(target=lesson_work.start_together, args=(barrier, COUNT)) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@TWO_AND_FOUR
def test_p1_threads_overlap_and_do_not_run_in_parallel(many: int, concurrency: Any) -> None:
    """P1: because of the GIL, threads do not really execute at the same time ("GIL的存在,多线程实际不是并发执行").

    The note's 并发 means *concurrent*, and concurrent they are: all of them are in progress at one instant. What the
    GIL forbids is that they run Python code in *parallel*. A free-threaded Python has no GIL, and there they do.

    Verdict: imprecise.
    Seen: 2 and 4 computing threads are in progress at once and take turns with the GIL; without a GIL they run in
    parallel.
    """
    concurrency.watch(lesson_work.count)

    count_in_threads(many)

    concurrency.assert_overlap(lesson_work.count, at_least=many)
    if HAS_GIL:
        with pytest.raises(ParallelismError, match="the GIL lets one thread at a time run Python code"):
            concurrency.assert_parallel(lesson_work.count, at_least=many)
    else:
        concurrency.assert_parallel(lesson_work.count, at_least=many)


# P2

MANY = 10


@pytest.mark.must_overlap("lesson_work.wait", at_least=MANY)
def test_p2_waits_in_threads_overlap() -> None:
    """P2: I/O-bound work suits threads ("IO密集型(多线程)").

    A thread that waits gives the GIL away, so ten waits are in progress at once, and nobody has to take turns.

    Verdict: true.
    Seen: 10 blocking waits in 10 threads are all in progress at once.
    """
    with ThreadPoolExecutor(MANY) as pool:
        for _ in range(MANY):
            pool.submit(lesson_work.wait)


# P3


@contextmanager
def one_processor_and_a_noisy_neighbour() -> Iterator[None]:
    """Leave this process and its children one processor, on which somebody else is busy already."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        neighbour.kill()
        neighbour.wait()


def count_in_processes(many: int) -> None:
    barrier = multiprocessing.Barrier(many)
    processes = [multiprocessing.Process(target=lesson_work.start_together, args=(barrier, COUNT)) for _ in range(many)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * many


@TWO_AND_FOUR
@pytest.mark.start_methods
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_p3_computing_runs_in_parallel_in_processes(many: int, concurrency: Any) -> None:
    """P3: CPU-bound work suits processes ("CPU密集型(多进程)").

    The same function as in P1. Each process has an interpreter and a GIL of its own: nobody takes turns.

    Verdict: true.
    Seen: the same computing in 2 and in 4 processes runs in parallel, under each start method, and on one processor
    beside a noisy neighbour.
    """
    concurrency.watch(lesson_work.count)

    count_in_processes(many)

    concurrency.assert_parallel(lesson_work.count, at_least=many)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind a process to a processor")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_p3_it_does_on_a_machine_that_has_no_time(concurrency: Any) -> None:
    """P3, on one processor with a neighbour on it: what counts is what they ask for, not what they get."""
    concurrency.watch(lesson_work.count)

    with one_processor_and_a_noisy_neighbour():
        count_in_processes(2)

    concurrency.assert_parallel(lesson_work.count, at_least=2)
