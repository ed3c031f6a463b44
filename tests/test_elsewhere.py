"""What is left where the system tells less: no `/proc`, no clocks of other threads, no POSIX. See `elsewhere/`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Inner = Callable[..., pytest.RunResult]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="another system is played on Linux only"),
    pytest.mark.parametrize("system", ["darwin", "win32"]),
]


@pytest.fixture
def elsewhere(system: str, inner: Inner, monkeypatch: pytest.MonkeyPatch) -> Inner:
    """Return a function that runs pytest in a process in which the plugin takes itself to be on *system*."""
    folder = str(Path(__file__).parent / "elsewhere")
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, *([before] if before else [])]))
    monkeypatch.setenv("ELSEWHERE", system)
    return inner


PROGRAM = """
import asyncio, collections, itertools, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import pytest

lock = threading.Lock()

async def fetch():
    await asyncio.sleep(0.001)

def work():
    pass

def work_with_the_lock(_):
    with lock:
        work()

def in_two_threads(function):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(function, range(2)))

def compute():
    end = time.thread_time() + 0.3
    while time.thread_time() < end:
        pass
"""

HOLDS = """
@pytest.mark.must_overlap("test_it.fetch")
def test_tasks():
    async def main():
        await asyncio.gather(fetch(), fetch())
    asyncio.run(main())

@pytest.mark.must_overlap("test_it.work")
def test_threads():
    in_two_threads(lambda _: work())

@pytest.mark.must_overlap("test_it.work")
def test_processes():
    processes = [get_context("spawn").Process(target=work) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

@pytest.mark.must_not_overlap("test_it.work", patience=0.1)
def test_lock():
    in_two_threads(work_with_the_lock)

@pytest.mark.must_not_block
@pytest.mark.must_not_leak
def test_nothing_wrong():
    async def main():
        with lock:
            await asyncio.gather(fetch(), asyncio.to_thread(time.sleep, 0.2))
    asyncio.run(main())

@pytest.mark.virtual_clock
@pytest.mark.must_finish_within(100)
def test_virtual_time():
    async def main():
        await asyncio.sleep(99)
    asyncio.run(main())

@pytest.mark.virtual_clock
@pytest.mark.must_finish_within(3600)
def test_virtual_time_in_a_thread():
    thread = threading.Thread(target=lambda: asyncio.run(asyncio.sleep(3599)))
    thread.start()
    thread.join()

@pytest.mark.must_finish_within(600)
def test_real_time():
    asyncio.run(fetch())
"""


def test_what_holds(pytester: pytest.Pytester, elsewhere: Inner) -> None:
    pytester.makepyfile(test_it=PROGRAM + HOLDS)

    result = elsewhere("-p", "no:asyncio", "-W", "error::pytest_concurrency.ConcurrencyWarning", "--leaks=fail")

    result.assert_outcomes(passed=8)


BREAKS = """
@pytest.mark.must_overlap("test_it.fetch")
def test_tasks():
    async def main():
        await fetch()
        await fetch()
    asyncio.run(main())

@pytest.mark.must_overlap("test_it.work", patience=0.1)
def test_threads():
    in_two_threads(work_with_the_lock)

@pytest.mark.must_not_overlap("test_it.work")
def test_no_lock():
    in_two_threads(lambda _: work())

@pytest.mark.must_not_block
def test_sleep():
    async def main():
        time.sleep(0.01)
    asyncio.run(main())

@pytest.mark.must_not_block
def test_join():
    async def main():
        thread = threading.Thread(target=time.sleep, args=(0.15,))
        thread.start()
        thread.join()
    asyncio.run(main())

@pytest.mark.must_not_block
def test_wait():
    async def main():
        with lock:
            lock.acquire(timeout=1)
    asyncio.run(main())

@pytest.mark.must_not_block
def test_computing():
    async def main():
        collections.deque(itertools.permutations(range(11)), 0)
    asyncio.run(main())

@pytest.mark.must_not_block
def test_computing_in_two_tasks():
    async def one():
        compute()
    async def main():
        await asyncio.gather(one(), one())
    asyncio.run(main())

@pytest.mark.must_not_leak
def test_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()

@pytest.mark.must_not_leak
def test_process():
    test_process.left = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

@pytest.mark.virtual_clock
@pytest.mark.must_finish_within(100)
def test_virtual_time():
    async def main():
        await asyncio.sleep(101)
    asyncio.run(main())
"""


def test_what_does_not(pytester: pytest.Pytester, elsewhere: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(test_it=PROGRAM + BREAKS)
    monkeypatch.setenv("COLUMNS", "200")

    result = elsewhere("-p", "no:asyncio", "-W", "error::pytest_concurrency.ConcurrencyWarning")

    result.assert_outcomes(failed=11)
    result.stdout.fnmatch_lines(
        [
            "FAILED test_it.py::test_tasks - expected 2 calls of test_it.fetch at once, saw at most 1",
            "FAILED test_it.py::test_threads - *expected 2 calls of test_it.work at once, saw at most 1",
            "FAILED test_it.py::test_no_lock - expected calls of test_it.work one at a time, saw 2 in progress *",
            "FAILED test_it.py::test_sleep - time.sleep blocked the event loop for 10 ms at test_it.py:*",
            "FAILED test_it.py::test_join - threading.Thread.join blocked the event loop for * at test_it.py:*",
            "FAILED test_it.py::test_wait - lock.acquire blocked the event loop for * at test_it.py:*",
            "FAILED test_it.py::test_computing - collections.deque(* blocked the event loop for * at test_it.py:*",
            "FAILED test_it.py::test_computing_in_two_tasks - time.thread_time* blocked the * at test_it.py:*",
            "FAILED test_it.py::test_thread - left behind: thread *",
            "FAILED test_it.py::test_process - left behind: process *",
            "FAILED test_it.py::test_virtual_time - took 101 s of virtual time, expected at most 100 s*",
        ]
    )


LOOPS = {
    "uvloop.Loop": """
        import uvloop
        async def main():
            time.sleep(0.001)
        uvloop.run(main())
""",
    "gevent.hub.Hub": """
        import gevent
        gevent.spawn(time.sleep, 0.001).join()
""",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_whose_turns_cannot_be_read_is_named(pytester: pytest.Pytester, elsewhere: Inner, loop: str) -> None:
    pytest.importorskip(loop.partition(".")[0])
    body = LOOPS[loop]
    pytester.makepyfile(
        test_it=f"""
import time, pytest
class TestIt:
    def test_it(self):{body}
    @pytest.mark.must_not_block
    def test_marked(self):{body}
"""
    )

    result = elsewhere("-p", "no:asyncio")

    result.assert_outcomes(passed=1, failed=1, warnings=2)
    result.stdout.fnmatch_lines(
        [
            f"*ConcurrencyWarning: unwatched: {loop} does not tell of its turns; only calls that have a name are*",
            "*BlockingCallWarning: time.sleep blocked *",
        ]
    )
