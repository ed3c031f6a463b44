"""What `await`, tasks and `gather` do: the claims C4 to C6 of the notes, on asyncio and on trio.

Run it with `pytest examples/test_coroutines.py`. You will see two tasks share two seconds, a task that nobody waits
for get cancelled, and results that come in the order of the question; all on a virtual clock, so nobody waits.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

# C4


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
def test_c4_awaiting_the_longer_task_is_enough_asyncio(
    concurrency: Any, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """C4: lady takes 1 s and killer9 takes 2 s; `await task_killer` alone lets both finish, in 2 s."""

    async def async_test(delay: int, content):
        await asyncio.sleep(delay)
        print(content)

    async def main():
        task_lady = asyncio.create_task(async_test(1, "lady"))  # 创建task
        task_killer = asyncio.create_task(async_test(2, "killer9"))
        await task_killer
        assert task_lady.done()

    concurrency.watch(async_test)

    asyncio.run(main())

    assert capsys.readouterr().out == "lady\nkiller9\n"
    assert [call.outcome for call in concurrency.spans(async_test)] == ["returned", "returned"]
    assert virtual_clock.elapsed == 2
    concurrency.assert_overlap(async_test)


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
def test_c4_the_end_of_the_nursery_awaits_both_trio(
    concurrency: Any, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """C4 in trio: tasks live in a nursery, and its end is what is awaited."""
    trio = pytest.importorskip("trio")

    async def async_test(delay: int, content):
        await trio.sleep(delay)
        print(content)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(async_test, 1, "lady")
            nursery.start_soon(async_test, 2, "killer9")

    concurrency.watch(async_test)

    trio.run(main)

    assert capsys.readouterr().out == "lady\nkiller9\n"
    assert [call.outcome for call in concurrency.spans(async_test)] == ["returned", "returned"]
    assert virtual_clock.elapsed == 2
    concurrency.assert_overlap(async_test)


# C5


@pytest.mark.virtual_clock
def test_c5_awaiting_only_the_shorter_task_loses_the_longer_asyncio(
    concurrency: Any, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """C5: "如果只await了耗时短的,那么其他任务没有完成就结束了": the other task does not get to its end.

    The notes say that the program ends without it. What happens is that `asyncio.run` cancels it on its way out: its
    recorded call ends as *cancelled*, after 1 s. Nothing warns of it.
    """

    async def async_test(delay: int, content):
        await asyncio.sleep(delay)
        print(content)

    async def main():
        task_lady = asyncio.create_task(async_test(1, "lady"))  # 创建task
        task_killer = asyncio.create_task(async_test(2, "killer9"))
        await task_lady
        assert not task_killer.done()

    concurrency.watch(async_test)

    asyncio.run(main())

    assert capsys.readouterr().out == "lady\n"
    assert [call.outcome for call in concurrency.spans(async_test)] == ["returned", "cancelled"]
    assert virtual_clock.elapsed == 1


@pytest.mark.virtual_clock
def test_c5_a_nursery_cannot_be_left_before_its_tasks_are_done_trio(
    concurrency: Any, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """C5 cannot happen in trio: `main` waits for lady only, but the nursery waits for both."""
    trio = pytest.importorskip("trio")

    async def async_test(delay: int, content, done):
        await trio.sleep(delay)
        print(content)
        done.set()

    async def main():
        lady_done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(async_test, 1, "lady", lady_done)
            nursery.start_soon(async_test, 2, "killer9", trio.Event())
            await lady_done.wait()

    concurrency.watch(async_test)

    trio.run(main)

    assert capsys.readouterr().out == "lady\nkiller9\n"
    assert [call.outcome for call in concurrency.spans(async_test)] == ["returned", "returned"]
    assert virtual_clock.elapsed == 2


@pytest.mark.virtual_clock
def test_c5_who_wants_to_leave_early_has_to_say_so_trio(
    concurrency: Any, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """C5 on purpose: the nursery is cancelled, in a line that everybody can read."""
    trio = pytest.importorskip("trio")

    async def async_test(delay: int, content, done):
        await trio.sleep(delay)
        print(content)
        done.set()

    async def main():
        lady_done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(async_test, 1, "lady", lady_done)
            nursery.start_soon(async_test, 2, "killer9", trio.Event())
            await lady_done.wait()
            nursery.cancel_scope.cancel()

    concurrency.watch(async_test)

    trio.run(main)

    assert capsys.readouterr().out == "lady\n"
    assert sorted(call.outcome for call in concurrency.spans(async_test)) == ["cancelled", "returned"]
    assert virtual_clock.elapsed == 1


# C6


@pytest.mark.virtual_clock
@pytest.mark.must_overlap(at_least=3)
def test_c6_gather_returns_results_in_the_order_passed(virtual_clock: Any) -> None:
    """C6: the result of `gather` is a list of all that was returned ("结果是一个由所有返回值聚合而成的列表").

    It has the order in which the coroutines were passed, not that in which they finished.
    """
    finished = []

    async def answer(delay):
        await asyncio.sleep(delay)
        finished.append(delay)
        return delay

    async def main():
        return await asyncio.gather(answer(3), answer(1), answer(2))

    assert asyncio.run(main()) == [3, 1, 2]
    assert finished == [1, 2, 3]
    assert virtual_clock.elapsed == 3


def test_c6_gather_does_not_take_a_list() -> None:
    """C6, where the notes are wrong: `gather` does not receive a list ("接收列表") but each awaitable for itself.

    A list has to be unpacked with a star.
    """

    async def answer(value):
        return value

    async def main():
        answers = [answer(1), answer(2)]
        with pytest.raises(TypeError):
            await asyncio.gather(answers)
        return await asyncio.gather(*answers)

    assert asyncio.run(main()) == [1, 2]
