"""What coroutines, tasks, `await` and `gather` are: the claims C1 to C8 of the notes, on asyncio and on trio.

Run it with `pytest examples/test_coroutines.py`. You will see a call that runs nothing, a task that runs though nobody
waits for it, two tasks share two seconds, one that nobody waits for get cancelled, results that come in the order of
the question, and a coroutine that never runs at all. Seconds are those of a virtual clock, so nobody waits.
"""

from __future__ import annotations

import asyncio
import inspect
import runpy
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency import LeakError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

NOTES = Path(__file__).parent / "notes"
both = pytest.mark.parametrize("library", ["asyncio", "trio"])


def run(library: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run `main()` on one of the two libraries."""
    if library == "asyncio":
        return asyncio.run(main())  # type: ignore[arg-type]
    return pytest.importorskip("trio").run(main)


def sleep(library: str, seconds: float) -> Awaitable[None]:
    """Sleep on one of the two libraries."""
    if library == "asyncio":
        return asyncio.sleep(seconds)
    return pytest.importorskip("trio").sleep(seconds)


def short(name: str) -> str:
    """Return a function's name without where it is defined."""
    return name.rpartition(".")[2]


# C1


@both
@pytest.mark.must_not_block
def test_c1_a_coroutine_function_makes_an_object_that_runs_when_it_is_awaited(library: str, concurrency: Any) -> None:
    """C1: coroutine function, coroutine object, event loop, task ("协程函数", "协程对象", "事件循环", "协程任务").

    Calling a coroutine function runs nothing of it and returns a coroutine object, which runs when it is awaited. A
    task (the notes print "rask") is scheduled by the loop and runs without being awaited.

    Verdict: true.
    Seen: no line runs at the call, all lines run at the await, and a task runs while its maker awaits something else.
    """
    lines: list[str] = []

    async def work():
        lines.append("runs")

    async def main():
        coroutine = work()
        assert inspect.iscoroutinefunction(work)
        assert inspect.iscoroutine(coroutine)
        assert lines == []
        await coroutine
        assert lines == ["runs"]

    concurrency.watch(work)

    run(library, main)

    assert [call.outcome for call in concurrency.spans(work)] == ["returned"]


def test_c1_a_task_runs_without_being_awaited_asyncio(concurrency: Any) -> None:
    """C1, the task: made with `create_task`, and run by the loop as soon as `main` lets it."""

    async def work():
        with concurrency.span("the task"):
            pass

    async def main():
        task = asyncio.create_task(work())
        assert concurrency.spans() == ()
        await asyncio.sleep(0)
        assert task.done()

    asyncio.run(main())

    assert [step.outcome for step in concurrency.spans("the task")] == ["returned"]


def test_c1_a_task_runs_without_being_awaited_trio(concurrency: Any) -> None:
    """C1, the task, in trio: a nursery starts it. There is no object to await: the nursery's end waits for all."""
    trio = pytest.importorskip("trio")

    async def work():
        with concurrency.span("the task"):
            pass

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            assert concurrency.spans() == ()
            await pytest.importorskip("trio.testing").wait_all_tasks_blocked()
            assert len(concurrency.spans("the task")) == 1

    trio.run(main)


# C2


@both
@pytest.mark.virtual_clock
@pytest.mark.must_overlap
@pytest.mark.must_not_block
def test_c2_await_runs_to_the_end_and_then_goes_on(library: str, concurrency: Any, virtual_clock: Any) -> None:
    """C2: `await` runs the awaitable to its end, then goes on ("去运行这个函数,运行完再继续").

    That is the order inside *one* coroutine. The loop is free meanwhile: another task gets on.

    Verdict: true.
    Seen: before, inside and after come in this order, in exactly 2 s, and another task's step of 1 s lies in between.
    """
    order: list[str] = []

    async def inside():
        order.append("inside begins")
        await sleep(library, 2)
        order.append("inside ends")

    async def waits():
        order.append("before")
        await inside()
        order.append("after")

    async def meanwhile():
        await sleep(library, 1)
        order.append("meanwhile")

    async def main():
        if library == "asyncio":
            await asyncio.gather(waits(), meanwhile())
        else:
            async with pytest.importorskip("trio").open_nursery() as nursery:
                nursery.start_soon(waits)
                nursery.start_soon(meanwhile)

    concurrency.watch(inside)
    concurrency.watch(meanwhile)

    run(library, main)

    assert order == ["before", "inside begins", "meanwhile", "inside ends", "after"]
    assert virtual_clock.elapsed == 2
    concurrency.assert_overlap(inside, meanwhile)


# C3


def test_c3_run_is_the_top_level_entry_asyncio() -> None:
    """C3: `run` is the top-level entry ("run运行最高层级的入口点").

    There is one top: a `run` inside a running loop is an error, on asyncio and on trio.

    Verdict: true.
    Seen: asyncio.run and trio.run inside themselves raise RuntimeError.
    """

    async def inner():
        pass

    async def main():
        again = inner()
        try:
            with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
                asyncio.run(again)
        finally:
            again.close()

    asyncio.run(main())


def test_c3_run_is_the_top_level_entry_trio() -> None:
    """C3 in trio."""
    trio = pytest.importorskip("trio")

    async def inner():
        pass

    async def main():
        with pytest.raises(RuntimeError, match="Attempted to call run\\(\\) from inside a run\\(\\)"):
            trio.run(inner)

    trio.run(main)


# C4


@pytest.mark.virtual_clock
@pytest.mark.must_overlap
def test_c4_awaiting_the_longer_task_is_enough_asyncio(
    concurrency: Any, virtual_clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """C4: lady 1 s + killer 2 s: awaiting the longer task is enough ("await task_killer#可以await所有任务").

    Both tasks run from the moment they are made, so the longer one's time is enough for the shorter one too.

    Verdict: true.
    Seen: lady and killer9 both finish, in exactly 2 s.
    """

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
def test_c4_the_notes_program_as_it_stands(virtual_clock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """C4, the notes' own program, `notes/lady_and_killer.py`, run as the script that it is."""
    runpy.run_path(str(NOTES / "lady_and_killer.py"), run_name="__main__")

    assert capsys.readouterr().out.splitlines()[1:3] == ["lady", "killer9"]
    assert virtual_clock.elapsed == 2


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
    """C5: awaiting only the shorter: the other is not finished when the program ends ("其他任务没有完成就结束了").

    It is not merely left undone: `asyncio.run` cancels it on its way out. Python does not warn of it; the marker
    `must_not_leak`, or `--leaks=fail` for a whole suite, does.

    Verdict: imprecise.
    Seen: lady finishes and killer9's call ends as cancelled, after exactly 1 s, and its task is reported as left
    behind; a trio nursery waits for both, 2 s.
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
    (left,) = concurrency.leaks
    assert (left.kind, short(left.what)) == ("task", "async_test")
    with pytest.raises(LeakError, match="still pending when its event loop ended, and cancelled only for that"):
        concurrency.assert_no_leaks()


@pytest.mark.virtual_clock
@pytest.mark.must_not_leak
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
    """C6: `gather` takes a list and returns the results as a list ("接收列表,结果是一个由所有返回值聚合而成的列表").

    It has the order in which the coroutines were passed, not that in which they finished; here the note breaks off
    ("结果值得顺序与was").

    Verdict: imprecise.
    Seen: asked 3, 1, 2 they finish as 1, 2, 3 and the result is [3, 1, 2]; a list must be unpacked with a star.
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


# C7


def test_c7_async_def_is_the_one_way_that_is_left() -> None:
    """C7: two ways to make a coroutine: `yield` and `async` ("一种是yield关键字,一种是async关键字,我们一般用后者").

    The first was `@asyncio.coroutine` around a generator, which Python removed in 3.11. What is left of it is
    `types.coroutine`: it makes a generator awaitable, and event loops' own primitives are built with it.

    Verdict: imprecise.
    Seen: asyncio.coroutine is gone; a types.coroutine generator can be awaited on asyncio and on trio; a plain
    generator cannot.
    """
    assert not hasattr(asyncio, "coroutine")


@both
@pytest.mark.must_not_block
def test_c7_a_generator_can_be_awaited_when_types_coroutine_says_so(library: str) -> None:
    """C7, what is left of the first way."""

    @types.coroutine
    def with_yield() -> Generator[Any, Any, str]:
        yield from sleep(library, 0).__await__()
        return "by yield"

    async def with_async() -> str:
        await sleep(library, 0)
        return "by async"

    def plain():
        yield

    async def main():
        with pytest.raises(TypeError, match="generator"):
            await plain()
        return await with_yield(), await with_async()

    assert run(library, main) == ("by yield", "by async")


# C8


def test_c8_a_coroutine_runs_by_being_awaited_by_run_or_as_a_task(concurrency: Any) -> None:
    """C8: a new coroutine runs by being awaited, by `run`, or as a task ("在其他协程中被await", "或者使用task方法").

    There is a fourth way, which the notes show by accident in their `f2` (see B2): none of the three; it never runs.

    Verdict: true.
    Seen: await, run and create_task each run it once; left alone, it never runs, and that is reported.
    """

    async def by_run():
        await by_await()
        task = asyncio.create_task(by_task())
        await task

    async def by_await():
        pass

    async def by_task():
        pass

    for way in (by_run, by_await, by_task):
        concurrency.watch(way)

    asyncio.run(by_run())

    assert {len(concurrency.spans(way)) for way in (by_run, by_await, by_task)} == {1}
    # Awaited, it runs in its caller's task; as a task, it has one of its own.
    strands = [concurrency.spans(way)[0].strand for way in (by_run, by_await, by_task)]
    assert strands[0] == strands[1] != strands[2]


def test_c8_a_coroutine_runs_by_being_awaited_by_run_or_in_a_nursery_trio(concurrency: Any) -> None:
    """C8 in trio, where the function is handed over, not the coroutine: there is nothing to forget."""
    trio = pytest.importorskip("trio")

    async def by_run():
        await by_await()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(by_task)

    async def by_await():
        pass

    async def by_task():
        pass

    for way in (by_run, by_await, by_task):
        concurrency.watch(way)

    trio.run(by_run)

    assert {len(concurrency.spans(way)) for way in (by_run, by_await, by_task)} == {1}


def test_c8_f_3_awaits_f_4_and_run_runs_f_3(capsys: pytest.CaptureFixture[str]) -> None:
    """C8, the notes' program, as it stands in `notes/f_3_and_f_4.py`."""
    runpy.run_path(str(NOTES / "f_3_and_f_4.py"), run_name="__main__")

    assert capsys.readouterr().out == "f3 doing\nf4 doing\n"


def test_c8_a_coroutine_that_nobody_awaits_never_runs(concurrency: Any) -> None:
    """C8, the fourth way: `f_3` forgets to wait for `f_4`, as the notes' `f2` forgets its sleep."""

    async def f_3():
        f_4()

    async def f_4():
        pass

    concurrency.watch(f_3)
    concurrency.watch(f_4)

    with pytest.warns(RuntimeWarning, match="f_4' was never awaited"):
        asyncio.run(f_3())

    assert len(concurrency.spans(f_3)) == 1
    assert concurrency.spans(f_4) == ()
    (left,) = concurrency.leaks
    assert (left.kind, short(left.name), left.state) == ("coroutine", "f_4", "never awaited")
