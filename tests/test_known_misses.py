"""What is not seen, each with its reason. A test that begins to fail here is good news."""

from __future__ import annotations

import asyncio
import ctypes
import io
import re
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._blocking.guard import Guard
from pytest_concurrency._inheritance.reads import readings, shown
from pytest_concurrency._settings import KINDS, Blocking

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from pytest_concurrency._trace import Block

pytestmark = pytest.mark.usefixtures("alone")
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


def test_a_pool_that_was_there_before_the_test(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """Its processes were started, or forked, before anybody was told what to watch. It is no silent pass."""
    pytester.makepyfile(
        work="def work(number): pass",
        test_it="""
        import multiprocessing, pytest, work

        @pytest.fixture(scope="module", params=["fork", "spawn"])
        def pool(request):
            if request.param not in multiprocessing.get_all_start_methods():
                pytest.skip("not on this system")
            with multiprocessing.get_context(request.param).Pool(2) as pool:
                pool.map(work.work, range(2))
                yield pool

        def test_before(pool):
            pass

        @pytest.mark.must_overlap("work:work")
        def test_it(pool):
            pool.map(work.work, range(2))
        """,
    )

    result = inner("-p", "no:xdist")

    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["expected 2 calls of work:work at once, saw none at all"])


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


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not for Windows")
def test_a_wait_that_keeps_the_gil_on_uvloop() -> None:
    """C code that sleeps without letting go of the GIL: the turns of asyncio and trio tell how long it took."""
    uvloop = pytest.importorskip("uvloop")
    asleep = ctypes.PyDLL(None).usleep

    async def main() -> None:
        asleep(150_000)

    with watched() as blocks:
        uvloop.run(main())

    assert all(block.place.function.endswith("main") for block in blocks)

    with watched() as blocks:
        asyncio.run(main())

    assert [block.kind for block in blocks] == ["wait"]


GREENLETS = """
import gevent, re, time, pytest_concurrency
with pytest_concurrency.record() as concurrency:
    {body}
print([block.call for block in concurrency.blocks if block.kind != "import"])
"""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(
            "gevent.spawn(re.match, r'(a+)+b', 'a' * 22).join()",
            "the sampler comes to look when the greenlet is over, and the hub does not tell of its steps",
            id="one long call that keeps the GIL",
        ),
        pytest.param(
            "gevent.spawn(lambda: open('/dev/zero').close()).join()",
            "opening has no end that is announced, and a hub has no turn that belongs to one greenlet alone",
            id="a short look at a file",
        ),
        pytest.param(
            "late = gevent.spawn(gevent.sleep, 0.01); gevent.sleep(0); time.sleep(0.02); late.join()",
            "the outermost greenlet may wait as it likes unless another one is ready to run when it begins",
            id="a timer that falls due while the thread itself sleeps",
        ),
    ],
)
def test_in_greenlets(body: str, why: str, run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")

    result = run_python(GREENLETS.format(body=body))

    assert (result.stdout, result.stderr) == ("[]\n", ""), why


def test_globals_behind_an_import_inside_a_function() -> None:
    """What a child lacks is looked for among the globals of its code; a module that is a local name is none."""

    def imports() -> object:
        import tempfile

        return tempfile.tempdir

    assert readings(imports) == []


def test_inside_objects_whose_class_is_not_the_programs_own() -> None:
    """Two of the same type look alike: what lies in them may differ from process to process of itself."""
    assert shown(io.StringIO("x")) == shown(io.StringIO("y"))
