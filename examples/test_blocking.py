"""Blocking inside async code: the claims B1 to B4 of the notes, on asyncio and on trio.

Run it with `pytest examples/test_blocking.py`. You will see that `time.sleep` keeps coroutines from overlapping and is
reported with its line, that `await` alone makes nothing concurrent, and that `gather` and a nursery do.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency import OverlapError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECOND = 0.05
"""What the notes' `time.sleep(1)` takes here: a blocked loop cannot be hurried by a virtual clock."""

# These tests block the loop on purpose, to see that it is noticed.
blocks_on_purpose = pytest.mark.filterwarnings("ignore::pytest_concurrency.BlockingCallWarning")
both = pytest.mark.parametrize("library", ["asyncio", "trio"])


def run(library: str, main: Callable[[], Awaitable[object]]) -> None:
    """Run the notes' `main()` on one of the two libraries."""
    if library == "asyncio":
        asyncio.run(main())  # type: ignore[arg-type]
    else:
        pytest.importorskip("trio").run(main)


def lines_of(function: Callable[..., object], text: str) -> list[tuple[str, int]]:
    """Return file and line of each line of *function* that has *text* in it."""
    import inspect

    lines, first = inspect.getsourcelines(function)
    return [(__file__, number) for number, line in enumerate(lines, first) if text in line.partition("#")[0]]


# B1


@both
@blocks_on_purpose
def test_b1_two_coroutines_with_time_sleep_block_the_loop_one_after_the_other(library: str, concurrency: Any) -> None:
    """B1: two coroutines with `time.sleep(1)` take 2 s ("耗时2s").

    They never overlap, and both calls are reported, each with its file and line. A second is 0.05 s here.
    """

    async def f1():
        time.sleep(SECOND)  # 这是线程阻塞的代码  整个线程会停住一秒
        print("f1:done")

    async def f2():
        time.sleep(SECOND)  # 这是线程阻塞的代码
        print("f2:done")

    async def main():
        await f1()
        await f2()

    concurrency.watch(f1)
    concurrency.watch(f2)

    run(library, main)

    concurrency.assert_no_overlap(f1, f2)
    assert [block.call for block in concurrency.blocks] == ["time.sleep", "time.sleep"]
    found = [(block.place.file, block.place.line) for block in concurrency.blocks]
    assert found == lines_of(f1, "time.sleep") + lines_of(f2, "time.sleep")


@blocks_on_purpose
def test_b1_gather_does_not_help_where_the_coroutines_block_asyncio(concurrency: Any) -> None:
    """B1, the reason: it is the blocked thread that makes it 2 s, not the two `await`s in a row.

    `gather` starts both coroutines as tasks, and still the first keeps the second from running at all.
    """

    async def f1():
        time.sleep(SECOND)

    async def f2():
        time.sleep(SECOND)

    async def main():
        await asyncio.gather(f1(), f2())

    concurrency.watch(f1)
    concurrency.watch(f2)

    asyncio.run(main())

    with pytest.raises(OverlapError):
        concurrency.assert_overlap(f1, f2)
    assert len(concurrency.blocks) == 2


@blocks_on_purpose
def test_b1_a_nursery_does_not_help_where_the_coroutines_block_trio(concurrency: Any) -> None:
    """B1, the reason, in trio."""
    trio = pytest.importorskip("trio")

    async def f1():
        time.sleep(SECOND)

    async def f2():
        time.sleep(SECOND)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(f1)
            nursery.start_soon(f2)

    concurrency.watch(f1)
    concurrency.watch(f2)

    trio.run(main)

    with pytest.raises(OverlapError):
        concurrency.assert_overlap(f1, f2)
    assert len(concurrency.blocks) == 2


NOTES = """\
import asyncio
import time

async def f1():
    time.sleep(0.05)  # line 5
    print("f1:done")

async def f2():
    time.sleep(0.05)  # line 9
    print("f2:done")

async def main():
    await f1();
    await f2();
"""


def test_b1_the_report_names_file_and_line(pytester: pytest.Pytester) -> None:
    """B1, what a reader sees: a suite that runs with `--blocking=fail` fails, and is told where."""
    pytester.makepyfile(test_notes=NOTES + "\ndef test_main():\n    asyncio.run(main())\n")

    result = pytester.runpytest_subprocess("--blocking=fail")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*time.sleep*"])
    result.stdout.fnmatch_lines(["*test_notes.py:5*"])
    result.stdout.fnmatch_lines(["*test_notes.py:9*"])


def test_b1_as_printed_the_program_takes_its_own_time_module_away() -> None:
    """B1, a slip in the notes: `time = time.time()` at module level replaces the module, so `time.sleep` is gone.

    As printed, the program ends in an `AttributeError` before anything has slept.
    """
    program = NOTES + "\nif __name__ == '__main__':\n    time = time.time();\n    asyncio.run(main());\n"

    with pytest.raises(AttributeError, match="'float' object has no attribute 'sleep'"):
        exec(program, {"__name__": "__main__"})


# B2


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b2_asyncio_sleep_awaited_one_after_the_other_takes_2_s_asyncio(concurrency: Any, virtual_clock: Any) -> None:
    """B2: with `asyncio.sleep` it still takes 2 s, it is still not concurrent ("依然2s,依旧不是并行运行的").

    Nothing blocks any more, and nothing overlaps either: exactly 2 s.
    """

    async def f1():
        await asyncio.sleep(1)  # 这是非阻塞的协程 ,类似于yeild
        print("f1:done")

    async def f2():
        await asyncio.sleep(1)  # 非阻塞的协程 ,类似于yeild
        print("f2:done")

    async def main():
        await f1()  # 等待协程结束
        await f2()

    concurrency.watch(f1)
    concurrency.watch(f2)

    asyncio.run(main())

    assert virtual_clock.elapsed == 2
    concurrency.assert_no_overlap(f1, f2)
    with pytest.raises(OverlapError, match="one after the other"):
        concurrency.assert_overlap(f1, f2)


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b2_sleep_awaited_one_after_the_other_takes_2_s_trio(concurrency: Any, virtual_clock: Any) -> None:
    """B2 in trio."""
    trio = pytest.importorskip("trio")

    async def f1():
        await trio.sleep(1)
        print("f1:done")

    async def f2():
        await trio.sleep(1)
        print("f2:done")

    async def main():
        await f1()
        await f2()

    concurrency.watch(f1)
    concurrency.watch(f2)

    trio.run(main)

    assert virtual_clock.elapsed == 2
    concurrency.assert_no_overlap(f1, f2)
    with pytest.raises(OverlapError, match="one after the other"):
        concurrency.assert_overlap(f1, f2)


@pytest.mark.virtual_clock
def test_b2_as_printed_f2_forgets_its_await_and_it_takes_1_s_asyncio(
    virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """B2, a slip in the notes: `f2` forgets its `await`, so its sleep never runs, and the program takes 1 s, not 2.

    Python says so itself when it throws the coroutine away: it "was never awaited".
    """

    async def f1():
        await asyncio.sleep(1)  # 这是非阻塞的协程 ,类似于yeild
        print("f1:done")

    async def f2():
        asyncio.sleep(1)  # 非阻塞的协程 ,类似于yeild
        print("f2:done")

    async def main():
        await f1()  # 等待协程结束
        await f2()

    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        asyncio.run(main())

    assert virtual_clock.elapsed == 1
    assert capsys.readouterr().out == "f1:done\nf2:done\n"


@pytest.mark.virtual_clock
def test_b2_as_printed_f2_forgets_its_await_and_it_takes_1_s_trio(virtual_clock: Any) -> None:
    """B2, the slip, in trio."""
    trio = pytest.importorskip("trio")

    async def f1():
        await trio.sleep(1)

    async def f2():
        trio.sleep(1)

    async def main():
        await f1()
        await f2()

    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        trio.run(main)

    assert virtual_clock.elapsed == 1


# B3


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
@pytest.mark.must_not_block
def test_b3_with_gather_it_takes_1_s_asyncio(concurrency: Any, virtual_clock: Any) -> None:
    """B3: with `gather` it takes 1 s and is concurrent ("修改后,耗时1s,是并发操作")."""

    async def f1():
        await asyncio.sleep(1)
        print("f1:done")

    async def f2():
        await asyncio.sleep(1)
        print("f2:done")

    async def main():
        await asyncio.gather(f1(), f2())

    concurrency.watch(f1)
    concurrency.watch(f2)

    asyncio.run(main())

    assert virtual_clock.elapsed == 1
    concurrency.assert_overlap(f1, f2)


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
@pytest.mark.must_not_block
def test_b3_in_a_nursery_it_takes_1_s_trio(concurrency: Any, virtual_clock: Any) -> None:
    """B3 in trio, where a nursery takes the place of `gather`."""
    trio = pytest.importorskip("trio")

    async def f1():
        await trio.sleep(1)
        print("f1:done")

    async def f2():
        await trio.sleep(1)
        print("f2:done")

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(f1)
            nursery.start_soon(f2)

    concurrency.watch(f1)
    concurrency.watch(f2)

    trio.run(main)

    assert virtual_clock.elapsed == 1
    concurrency.assert_overlap(f1, f2)


# B4

MANY = 10


def polite_crowd(checkpoint: Callable[[], Awaitable[object]], nap: Callable[[], Any]) -> tuple[Any, Any, list[str]]:
    """Return a coroutine function that gives way all the time, one that naps once, and the log they write."""
    log: list[str] = []

    async def polite():
        for _ in range(3):
            await checkpoint()
            log.append("polite")

    async def sleeper():
        log.append("falls asleep")
        if (awaitable := nap()) is not None:
            await awaitable
        log.append("wakes up")

    return polite, sleeper, log


def during_the_nap(log: list[str]) -> int:
    return log.index("wakes up") - log.index("falls asleep") - 1


def block() -> None:
    time.sleep(SECOND)


@blocks_on_purpose
def test_b4_one_time_sleep_stops_every_other_task_asyncio(concurrency: Any) -> None:
    """B4: one synchronous place makes everything synchronous ("如果有一处代码写成了同步,则整个代码都同步").

    Not one of the well-behaved tasks gets on while that one sleeps. "Everything" goes a little far: they are held up
    for as long as the call takes, and are concurrent before and after it.
    """
    polite, sleeper, log = polite_crowd(lambda: asyncio.sleep(0), block)

    async def main():
        await asyncio.gather(*(polite() for _ in range(MANY)), sleeper(), *(polite() for _ in range(MANY)))

    concurrency.watch(polite)
    asyncio.run(main())

    assert during_the_nap(log) == 0
    assert log.count("polite") == 2 * MANY * 3
    assert [block.call for block in concurrency.blocks] == ["time.sleep"]
    concurrency.assert_overlap(polite, at_least=MANY)


@blocks_on_purpose
def test_b4_one_time_sleep_stops_every_other_task_trio(concurrency: Any) -> None:
    """B4 in trio."""
    trio = pytest.importorskip("trio")
    polite, sleeper, log = polite_crowd(trio.lowlevel.checkpoint, block)

    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(polite)
            nursery.start_soon(sleeper)
            for _ in range(MANY):
                nursery.start_soon(polite)

    concurrency.watch(polite)
    trio.run(main)

    assert during_the_nap(log) == 0
    assert log.count("polite") == 2 * MANY * 3
    assert [block.call for block in concurrency.blocks] == ["time.sleep"]
    concurrency.assert_overlap(polite, at_least=MANY)


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b4_an_awaited_sleep_stops_nobody_asyncio() -> None:
    """B4, the other side: the same sleeper among ten others, and all their work falls into its sleep."""
    polite, sleeper, log = polite_crowd(lambda: asyncio.sleep(0), lambda: asyncio.sleep(1))

    async def main():
        await asyncio.gather(sleeper(), *(polite() for _ in range(MANY)))

    asyncio.run(main())

    assert during_the_nap(log) == MANY * 3


@pytest.mark.virtual_clock
@pytest.mark.must_not_block
def test_b4_an_awaited_sleep_stops_nobody_trio() -> None:
    """B4, the other side, in trio: at least two thirds of it do, since trio starts tasks in no fixed order."""
    trio = pytest.importorskip("trio")
    polite, sleeper, log = polite_crowd(trio.lowlevel.checkpoint, lambda: trio.sleep(1))

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper)
            for _ in range(MANY):
                nursery.start_soon(polite)

    trio.run(main)

    assert during_the_nap(log) >= MANY * 2
