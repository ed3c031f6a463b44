"""A loop that cannot be watched, and a detector that fails, say so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]


def test_a_loop_of_an_unknown_kind_is_named(suite: Suite) -> None:
    result = suite(
        """
import asyncio, pytest

class Own(asyncio.SelectorEventLoop):
    def run_forever(self):
        # Keeps its selector to itself.
        selector, self._selector = self._selector, None
        asyncio._set_running_loop(self)
        try:
            self._selector = selector
            self._stopping = False
            while not self._stopping:
                for key, events in selector.select(0):
                    self._process_events([(key, events)])
                for _ in range(len(self._ready)):
                    self._ready.popleft()._run()
        finally:
            asyncio._set_running_loop(None)
            self._stopping = False

async def main():
    await asyncio.sleep(0)
    open(__file__).close()

def test_it():
    loop = Own()
    loop.run_until_complete(main())
    loop.close()

@pytest.mark.must_not_block
def test_marked():
    loop = Own()
    loop.run_until_complete(main())
    loop.close()
"""
    )

    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*ConcurrencyWarning: unwatched: test_it.Own does not tell of its turns; only calls that have a name are*"]
    )


@pytest.mark.parametrize("hook", ["before_run", "after_io_wait"])
def test_a_trio_that_no_longer_calls_an_instruments_hooks_is_named(
    suite: Suite, pytester: pytest.Pytester, hook: str
) -> None:
    pytest.importorskip("trio")
    pytester.makeconftest(
        f"""
        from trio._core._instrumentation import Instruments

        call = Instruments.call

        def deaf(self, name, *args):
            if name != {hook!r}:
                call(self, name, *args)

        Instruments.call = deaf
        """
    )
    result = suite(
        """
import pytest, trio

def test_it():
    trio.run(trio.sleep, 0)

@pytest.mark.must_not_block
def test_marked():
    trio.run(trio.sleep, 0)
"""
    )

    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*ConcurrencyWarning: unwatched: trio.run does not tell of its turns; only calls that have a name are found*"]
    )


@pytest.mark.parametrize(
    "part", ["guard.locate", "turns.Lane", "clocks.ThreadClocks.read", "lanes.Lane.refresh", "lanes.Lane.end"]
)
def test_a_detector_that_fails_is_switched_off_with_one_warning(
    suite: Suite, pytester: pytest.Pytester, part: str
) -> None:
    pytester.makeconftest(
        f"""
from pytest_concurrency._blocking import clocks, guard, lanes, turns

def mistaken(*args, **kwargs):
    raise LookupError("a mistake of ours")

{part} = mistaken
"""
    )
    code = """
import asyncio, os, time, pytest

async def main():
    os.write(pipe[1], b"0" * 1000)
    assert os.read(pipe[0], 1000) == b"0" * 1000
    time.sleep(0.001)
    await asyncio.sleep(0.002)
    time.sleep(0.001)

pipe = os.pipe()

def test_first():
    asyncio.run(main())

def test_second():
    asyncio.run(main())

@pytest.mark.must_not_block
def test_marked():
    asyncio.run(main())
"""

    result = suite(code)

    result.assert_outcomes(passed=2, failed=1)
    assert result.stdout.str().count("ConcurrencyWarning: the blocking detector failed") == 1
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.must_not_block(): nothing was watched, since the blocking detector failed *",
            "*the blocking detector failed and has switched itself off: LookupError: a mistake of ours",
        ]
    )


def test_threads_of_ours_are_invisible_and_gone_in_the_end(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
import atexit, os

def look():
    print("threads at the end:", len(os.listdir("/proc/self/task")))

atexit.register(look)
"""
    )

    result = suite(
        """
import asyncio, os, threading, time, warnings

async def main():
    # Often: the system counts a thread for a moment after it has said that it is done.
    for _ in range(30):
        await asyncio.sleep(0.006)
        assert threading.active_count() == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if not (pid := os.fork()):
                os._exit(0)
        os.waitpid(pid, 0)
    await asyncio.sleep(0.02)

def test_it():
    asyncio.run(main())
""",
        "-o",
        "concurrency_allow_blocking=test_it",
    )

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["threads at the end: 1"])


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="this system does not show threads")
def test_where_nothing_is_watched_there_is_no_thread_and_a_marked_test_is_watched_all_the_same(suite: Suite) -> None:
    result = suite(
        """
import asyncio, os, time
import pytest

async def main(threads):
    await asyncio.sleep(0.02)
    # A thread that has just ended is counted for a moment.
    assert (len(os.listdir("/proc/self/task")) > 1) == threads
    time.sleep(0.001)

def run(threads):
    asyncio.run(main(threads))

def test_first():
    run(threads=False)

@pytest.mark.must_not_block
def test_marked():
    run(threads=True)

def test_after_it():
    # It waits a while for the next loop.
    while len(os.listdir("/proc/self/task")) > 1:
        time.sleep(0.01)
    run(threads=False)
""",
        "--blocking=off",
    )

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["time.sleep blocked the event loop for 1 ms at test_it.py:*"])
