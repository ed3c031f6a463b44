"""Programs that are hard to watch: they fake the clock, pickle what is wrapped, only log what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Suite = Callable[..., pytest.RunResult]

CODE = """
import asyncio, concurrent.futures, multiprocessing, os, pickle, select, socket, time
import pytest

@pytest.mark.must_not_block
def test_that_fakes_the_clocks(monkeypatch):
    async def main():
        for name in ("monotonic", "perf_counter", "time", "thread_time", "process_time"):
            monkeypatch.setattr(time, name, lambda: 42.0)
        asyncio.get_running_loop().time = lambda: 42.0
        await asyncio.gather(*[asyncio.sleep(0) for _ in range(50)])
    asyncio.run(main())

@pytest.mark.must_not_block
def test_after_it():
    asyncio.run(asyncio.sleep(0.02))

def test_that_pickles_what_is_wrapped():
    async def main():
        for function in (time.sleep, os.stat, os.read, select.select, socket.socket.recv):
            assert pickle.loads(pickle.dumps(function)) == function
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert (await loop.run_in_executor(pool, os.stat, ".")).st_size
            await loop.run_in_executor(pool, time.sleep, 0)
    asyncio.run(main())

def test_whose_functions_answer_anything_when_asked_for_their_names():
    import sqlite3
    from unittest import mock
    class Odd:
        __hash__ = None
        def __getattr__(self, name):
            return self
        def __call__(self):
            return 7
    async def main():
        assert mock.call(1) == mock.call(1)
        assert Odd()() == 7
    asyncio.run(main())

@pytest.mark.must_not_block
def test_whose_callback_only_logs():
    async def main():
        def callback():
            time.sleep(0.001)
            raise ValueError("only logged")
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0.001)
    asyncio.run(main())

@pytest.mark.must_not_block
def test_whose_background_task_is_forgotten():
    async def main():
        async def work():
            time.sleep(0.001)
            raise ValueError("never retrieved")
        task = asyncio.create_task(work())
        await asyncio.sleep(0.001)
        return task
    asyncio.run(main())
"""


def test_programs_that_are_hard_to_watch(suite: Suite) -> None:
    result = suite(CODE, "-rA")

    passing = ("that_fakes_the_clocks", "after_it", "that_pickles_what_is_wrapped")
    for name in (*passing, "whose_functions_answer_anything_when_asked_for_their_names"):
        result.stdout.fnmatch_lines([f"PASSED test_it.py::test_{name}"])
    for name in ("whose_callback_only_logs", "whose_background_task_is_forgotten"):
        result.stdout.fnmatch_lines([f"FAILED test_it.py::test_{name} - time.sleep block*"])


ODD = """
import asyncio, time
import pytest

pytestmark = pytest.mark.must_not_block

class Stubborn(str):
    def refuse(self, *args):
        raise LookupError("not for you")
    startswith = partition = __eq__ = refuse
    __hash__ = str.__hash__

class Closed(dict):
    def get(self, *args):
        raise LookupError("not for you")

class Loop(asyncio.SelectorEventLoop):
    pass

Loop.__module__ = None

def test_that_goes_as_deep_as_it_may():
    def deeper():
        time.sleep(0.0000001)
        deeper()
    async def main():
        with pytest.raises(RecursionError):
            deeper()
    asyncio.run(main())

@pytest.mark.parametrize("file", ["", "a\\nb.py", "x" * 5000])
@pytest.mark.parametrize("globals", [{}, {"__name__": 5}, {"__name__": Stubborn("name")}, Closed()])
def test_code_from_nowhere(globals, file):
    globals["time"] = time
    async def main():
        exec(compile("time.sleep(0.001)", file, "exec"), globals)
    asyncio.run(main())

def test_a_loop_from_nowhere(concurrency):
    async def main():
        time.sleep(0.001)
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
"""


def test_odd_programs_are_watched_to_the_end(suite: Suite) -> None:
    result = suite(ODD, "--leaks=warn")

    result.assert_outcomes(failed=14)
    result.stdout.no_fnmatch_line("*switched itself off*")
    assert result.stdout.str().count("\ntime.sleep blocked the event loop for ") == 13


WHERE_NO_LOOP_RUNS = """
import asyncio, socket
import pytest

def test_without_a_loop():
    # It is inherited from a type written in C.
    assert "recv" not in vars(socket.socket)

def test_with_one():
    async def main():
        assert "recv" in vars(socket.socket)
        mine, other = socket.socketpair()
        with mine, other:
            other.settimeout(0.001)
            with pytest.raises(TimeoutError):
                other.recv(1)
            with pytest.raises(TypeError, match="argument"):
                other.recv()
            with pytest.raises(TimeoutError):
                other.recv(1, 0)
    asyncio.run(main())
"""


def test_messages_are_looked_at_once_a_loop_runs(suite: Suite) -> None:
    result = suite(WHERE_NO_LOOP_RUNS, "--blocking=warn")
    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines(["*socket.socket.recv blocked the asyncio event loop*"])
