"""What blocking detection does not see, each with its reason. A test that begins to fail here is good news."""

from __future__ import annotations

import asyncio
import io
import re
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._blocking.guard import Guard
from pytest_concurrency._settings import KINDS, Blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_concurrency._trace import Block

EVERYTHING = Blocking(kinds=frozenset(KINDS), past_threshold=frozenset())


@contextmanager
def watched() -> Iterator[list[Block]]:
    blocks: list[Block] = []
    guard = Guard(EVERYTHING, pytest.fail)
    guard.on_block = blocks.append
    guard.install()
    try:
        yield blocks
    finally:
        guard.remove()


def test_a_loop_over_the_lines_of_a_file_that_is_open_already() -> None:
    """The interpreter asks for the next line without a call; nor does `list`, `print` or `pickle.load` make one."""
    with tempfile.TemporaryFile("w+") as file:
        file.write("x")
        file.seek(0)

        async def main() -> None:
            for _ in file:
                pass

        with watched() as blocks:
            asyncio.run(main())

    assert [block for block in blocks if block.kind == "file"] == []


def test_a_method_of_a_file_while_somebody_else_uses_the_profiler() -> None:
    """Up to 3.12 the profiler is how such calls are heard of, and there is only one."""
    if sys.version_info >= (3, 13):
        pytest.skip("sys.monitoring has room for several")
    with tempfile.TemporaryFile("w+") as file:

        async def main() -> None:
            file.read()

        sys.setprofile(lambda *args: None)
        try:
            with watched() as blocks:
                asyncio.run(main())
        finally:
            sys.setprofile(None)

    assert [block for block in blocks if block.kind == "file"] == []


def test_the_line_of_a_builtin_that_the_loop_itself_calls() -> None:
    """`call_soon(time.sleep, 1)` is found, but no line of the program is left to be named: only who runs the loop."""

    async def main() -> None:
        asyncio.get_running_loop().call_soon(time.sleep, 0.001)
        await asyncio.sleep(0.005)

    with watched() as blocks:
        asyncio.run(main())

    assert [block.kind for block in blocks] == ["sleep"]
    assert "main" not in blocks[0].place.function


def test_a_lock_in_c_that_is_free_again_within_a_few_milliseconds() -> None:
    """Taking it is a method of a type written in C; the sampler's first look comes after ten milliseconds."""
    import threading

    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.002, lock.release).start()

    async def main() -> None:
        lock.acquire()

    with watched() as blocks:
        asyncio.run(main())

    assert [block for block in blocks if block.call == "lock.acquire"] == []


def test_memory_is_not_a_file() -> None:
    """Not a miss: `StringIO` looks like a file and never waits."""

    async def main() -> None:
        io.StringIO("x").read()

    with watched() as blocks:
        asyncio.run(main())

    assert blocks == []


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not for Windows")
def test_one_long_call_that_keeps_the_gil_on_uvloop() -> None:
    """A loop without turns to see is asked by a thread, which cannot ask while the GIL is held: often too late.

    A regular expression that backtracks for a second is found on asyncio and trio, whose turns are timed.
    """
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        began = time.perf_counter()
        for letters in range(18, 30):
            re.match(r"(a+)+b", "a" * letters)
            if time.perf_counter() - began > 0.2:
                break

    with watched() as blocks:
        uvloop.run(main())

    # Found or not: nothing is promised, but what is said is said of the right line.
    assert all(block.kind == "cpu" and block.place.function.endswith("main") for block in blocks)
