"""Innocent programs in unquiet processes: stopped, measured, debugged, in debug mode, collecting garbage."""

from __future__ import annotations

import importlib.util
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]

HEAD = """
import asyncio, gc, os, signal, subprocess, sys, threading, time
import pytest
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system does not stop processes")
@pytest.mark.parametrize("run", ["asyncio.run(main())", "__import__('uvloop').run(main())", "trio()"])
def test_a_process_that_was_stopped_and_continued(suite: Suite, run: str) -> None:
    library = "uvloop" if "uvloop" in run else "trio" if "trio" in run else "asyncio"
    pytest.importorskip(library)
    result = suite(
        HEAD
        + f"""
def stop_for_a_while():
    # The child continues us: stopped, we could not.
    code = "import os, signal, time; os.kill(%d, signal.SIGSTOP); time.sleep(0.5); os.kill(%d, signal.SIGCONT)"
    return subprocess.Popen([sys.executable, "-c", code % (os.getpid(), os.getpid())])

def spin(seconds):
    # In steps that are short, however long the process stands still in one of them.
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        yield

async def main():
    for _ in spin(1.5):
        await asyncio.sleep(0)

def trio():
    import trio
    async def main():
        for _ in spin(1.5):
            await trio.sleep(0)
    trio.run(main)

@pytest.mark.must_not_block
def test_it():
    child = stop_for_a_while()
    try:
        {run}
    finally:
        child.wait()
"""
    )

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*blocked the*")


@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="needs coverage")
def test_coverage_is_measured(suite: Suite, pytester: pytest.Pytester, inner_environment: dict[str, str]) -> None:
    suite("def test_it(): pass")
    pytester.makepyfile(
        test_it=HEAD
        + """
async def work(number):
    await asyncio.sleep(0)
    return number

@pytest.mark.must_not_block
@pytest.mark.must_overlap("test_it:work", at_least=3)
def test_it():
    async def main():
        return await asyncio.gather(work(1), work(2), work(3))
    assert asyncio.run(main()) == [1, 2, 3]

@pytest.mark.xfail(strict=True, raises=AssertionError)
@pytest.mark.must_not_block
def test_that_blocks():
    async def main():
        time.sleep(0.001)
    asyncio.run(main())
"""
    )
    args = ("-m", "coverage", "run", "-m", "pytest", "-p", "no:cacheprovider", "-q")
    result = pytester.run(sys.executable, *args)

    result.assert_outcomes(passed=1, xfailed=1)
    report = pytester.run(sys.executable, "-m", "coverage", "report", "--include=test_it.py", "-m")
    # Every line of the user's, those of the watched function too.
    report.stdout.fnmatch_lines(["test_it.py * 0 *100%*"])


def test_the_loop_is_in_debug_mode(suite: Suite) -> None:
    result = suite(
        HEAD
        + """
async def work():
    for _ in range(50):
        await asyncio.sleep(0)

@pytest.mark.must_not_block
def test_it():
    async def main():
        await asyncio.gather(*[work() for _ in range(20)])
    asyncio.run(main(), debug=True)

@pytest.mark.must_not_block
def test_that_blocks():
    async def main():
        time.sleep(0.001)
    asyncio.run(main(), debug=True)
"""
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["time.sleep blocked the event loop for * at test_it.py:17"])


def test_another_thread_computes_with_the_gil(suite: Suite) -> None:
    result = suite(
        HEAD
        + """
@pytest.mark.must_not_block
def test_it():
    stop = threading.Event()

    def compute():
        while not stop.is_set():
            sum(range(20_000))

    async def main():
        for _ in range(300):
            await asyncio.sleep(0)
            sum(range(1_000))

    threads = [threading.Thread(target=compute) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        asyncio.run(main())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
"""
    )

    result.assert_outcomes(passed=1)


def test_garbage_is_collected_between_steps(suite: Suite) -> None:
    result = suite(
        HEAD
        + """
@pytest.mark.must_not_block(threshold=0.5)
def test_it():
    heap = [[] for _ in range(200_000)]

    async def main():
        for _ in range(20):
            gc.collect(0)
            await asyncio.sleep(0)

    asyncio.run(main())
    assert heap
"""
    )

    result.assert_outcomes(passed=1)


# The terminal for it is made by a fork, and xdist, uvloop and gevent have threads of their own here.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_debugger_steps_in(suite: Suite, pytester: pytest.Pytester) -> None:
    suite("def test_it(): pass")
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.mark.must_not_block
def test_it():
    async def main():
        breakpoint()
        await asyncio.sleep(0)
    asyncio.run(main())

def test_that_blocks():
    async def main():
        time.sleep(0.001)
        assert False, "look at it"
    asyncio.run(main())
"""
    )
    pexpect = pytest.importorskip("pexpect")
    child = pexpect.spawn(sys.executable, ["-m", "pytest", "-p", "no:cacheprovider", "--pdb", "-x"], timeout=60)
    for answer in ("import time; time.sleep(0.2)", "c"):
        child.expect(r"\(Pdb\)")
        child.sendline(answer)
    # The second test fails by itself, and the debugger opens over its own line.
    child.expect(r"-> assert False, \"look at it\"")
    child.expect(r"\(Pdb\)")
    child.sendline("q")
    child.expect(pexpect.EOF)

    assert "1 failed, 1 passed" in child.before.decode()
