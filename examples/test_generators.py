"""One thread, many coroutines: the claims G4 and G7 of the notes, on asyncio and on trio.

Run it with `pytest examples/test_generators.py`. You will see ten tasks in progress at once on a single thread, and
one task at work while another one waits.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

MANY = 10

# G4


@pytest.mark.must_overlap(at_least=MANY)
@pytest.mark.must_not_block
def test_g4_tasks_that_overlap_share_one_thread_asyncio(concurrency: Any) -> None:
    """G4: coroutines live on one thread ("在Python中,协程是基于单线程的").

    Ten calls are in progress at once, and every step of each of them is made by the same thread. To be exact, it is one
    thread *per event loop*: a program may run several, and hand work to other threads with `asyncio.to_thread`.
    """
    steps: list[int] = []

    async def work():
        for _ in range(3):
            steps.append(threading.get_ident())
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(work() for _ in range(MANY)))

    concurrency.watch(work)

    asyncio.run(main())

    concurrency.assert_overlap(work, at_least=MANY)
    assert len(steps) == 3 * MANY
    assert set(steps) == {threading.get_ident()}


@pytest.mark.must_overlap(at_least=MANY)
@pytest.mark.must_not_block
def test_g4_tasks_that_overlap_share_one_thread_trio(concurrency: Any) -> None:
    """G4 in trio."""
    trio = pytest.importorskip("trio")
    steps: list[int] = []

    async def work():
        for _ in range(3):
            steps.append(threading.get_ident())
            await trio.lowlevel.checkpoint()

    async def main():
        async with trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(work)

    concurrency.watch(work)

    trio.run(main)

    concurrency.assert_overlap(work, at_least=MANY)
    assert len(steps) == 3 * MANY
    assert set(steps) == {threading.get_ident()}


# G7


def assert_all_steps_fall_inside_the_wait(concurrency: Any) -> None:
    (wait,) = concurrency.spans("A waits")
    steps = concurrency.spans("a step of B")
    assert len(steps) == 3
    for step in steps:
        assert wait.start <= step.start
        assert step.end <= wait.end
        assert concurrency.overlap("A waits", "a step of B") > 0
    assert wait.strand != steps[0].strand


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
@pytest.mark.must_not_block
def test_g7_while_one_task_waits_another_gets_on_asyncio(concurrency: Any) -> None:
    """G7: a coroutine uses the time of an I/O wait for something else ("可以利用这个等待时间去做其他事情").

    To be exact, it is the loop that uses it: while A waits, the loop runs B, and all of B's steps lie inside.
    """

    async def a():
        with concurrency.span("A waits"):
            await asyncio.sleep(1)

    async def b():
        for _ in range(3):
            with concurrency.span("a step of B"):
                sum(range(1000))
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(a(), b())

    asyncio.run(main())

    assert_all_steps_fall_inside_the_wait(concurrency)


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
@pytest.mark.must_not_block
def test_g7_while_one_task_waits_another_gets_on_trio(concurrency: Any) -> None:
    """G7 in trio."""
    trio = pytest.importorskip("trio")

    async def a():
        with concurrency.span("A waits"):
            await trio.sleep(1)

    async def b():
        await trio.sleep(0.5)
        for _ in range(3):
            with concurrency.span("a step of B"):
                sum(range(1000))
            await trio.lowlevel.checkpoint()

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a)
            nursery.start_soon(b)

    trio.run(main)

    assert_all_steps_fall_inside_the_wait(concurrency)


@pytest.mark.filterwarnings("ignore::pytest_concurrency.BlockingCallWarning")
def test_g7_a_wait_that_is_not_awaited_gives_nobody_a_turn(concurrency: Any) -> None:
    """G7, its limit: the loop can use only a wait that it knows of. `time.sleep` in A leaves B standing."""
    import time

    async def a():
        with concurrency.span("A waits"):
            time.sleep(0.02)

    async def b():
        with concurrency.span("a step of B"):
            sum(range(1000))

    async def main():
        await asyncio.gather(a(), b())

    asyncio.run(main())

    concurrency.assert_no_overlap("A waits", "a step of B")
    assert [block.call for block in concurrency.blocks] == ["time.sleep"]
