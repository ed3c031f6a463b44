"""What `yield` does, and why one thread is enough for many coroutines: the claims G1 to G7 of the notes.

Run it with `pytest examples/test_generators.py`. You will see a function that does nothing when it is called, two of
them take turns because ten lines of code say so, `yield from` do away with a middleman, and in the end ten tasks of
asyncio and of trio, which are made of just this, on a single thread.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

MANY = 10

# G1


def test_g1_calling_a_generator_function_runs_no_line_of_it(concurrency: Any) -> None:
    """G1: `yield` makes a function a generator; calling it returns one ("调用它,就会返回一个生成器").

    To be exact, the function is a *generator function*; the generator is what its call returns.

    Verdict: true.
    Seen: no line of the body runs at the call; the first `next` runs it as far as the first `yield`.
    """
    lines: list[str] = []

    def g():
        lines.append("begins")
        yield 1
        lines.append("ends")

    generator = g()
    assert type(generator).__name__ == "generator"
    assert lines == []

    assert next(generator) == 1
    assert lines == ["begins"]


# G2


def test_g2_next_stop_iteration_and_for() -> None:
    """G2: `next` fetches the next value, `StopIteration` says the end, `for` drives it ("通过next获取下一个值").

    The notes add that a generator is not there to wrap up code but to produce values ("目的是为了生产或者返回一些值").

    Verdict: true.
    Seen: next gives 1, 2, 3 and then StopIteration; a for loop gives the same three and ends by itself.
    """

    def g():
        yield 1
        yield 2
        yield 3

    by_hand = g()
    assert [next(by_hand), next(by_hand), next(by_hand)] == [1, 2, 3]
    with pytest.raises(StopIteration):
        next(by_hand)

    assert [value for value in g()] == [1, 2, 3]  # noqa: C416  # `for` is what is shown


# G3


def round_robin(*generators: Iterable[object]) -> None:
    """Let each take a step in turn, until all have ended: an event loop in ten lines."""
    ready = [iter(generator) for generator in generators]
    while ready:
        generator = ready.pop(0)
        try:
            next(generator)
        except StopIteration:
            continue
        ready.append(generator)


def test_g3_the_program_decides_who_runs_next(concurrency: Any) -> None:
    """G3: `yield` changes the order of execution, under the program's control ("程序执行顺序是受用户控制的").

    Two ordinary loops would print one after the other. With a `yield` in each, ten lines of plain Python make them take
    turns, on one thread and without an operating system's help: hence "user-mode threads" ("用户态的线程").

    Verdict: true.
    Seen: the steps of two generators are recorded as A1 B1 A2 B2 A3 B3.
    """

    def task(name: str) -> Iterator[None]:
        for number in (1, 2, 3):
            with concurrency.span(f"{name}{number}"):
                pass
            yield

    round_robin(task("A"), task("B"))

    assert [step.name for step in concurrency.spans()] == ["A1", "B1", "A2", "B2", "A3", "B3"]


# G4


@pytest.mark.must_overlap(at_least=MANY)
@pytest.mark.must_not_block
def test_g4_tasks_that_overlap_share_one_thread_asyncio(concurrency: Any) -> None:
    """G4: coroutines live on one thread ("在Python中,协程是基于单线程的").

    Ten calls are in progress at once, and every step of each of them is made by the same thread. To be exact, it is one
    thread *per event loop*: a program may run several, and hand work to other threads with `asyncio.to_thread`.

    Verdict: imprecise.
    Seen: 10 tasks are in progress at once, and every step of each of them is made by one thread.
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


# G5


def g2() -> Iterator[int]:
    yield from (1, 2, 3)


def test_g5_yield_from_does_without_the_middleman() -> None:
    """G5: a main thread hands g2's values to g3; `yield from` removes that middleman ("引入yield from").

    The notes' picture of it is lost; this is made from the sentence before it ("即从g2中获得i,给到g3,再得到值").
    `yield from` does more than loop: what is sent in, what is thrown in, and what is returned all pass through it.

    Verdict: true.
    Seen: both versions give 10, 20, 30; through `yield from` a send, a throw and the return value reach the other end.
    """

    def g3(i):
        yield i * 10

    def by_hand():
        values = []
        for i in g2():
            for value in g3(i):
                values.append(value)
        return values

    def g1():
        for i in g2():
            yield from g3(i)

    assert by_hand() == list(g1()) == [10, 20, 30]


def test_g5_send_throw_and_return_pass_through_yield_from() -> None:
    """G5, what a loop that yields each value cannot do."""

    def inner() -> Generator[str, str, str]:
        try:
            got = yield "ready"
        except LookupError as error:
            got = f"thrown {error}"
        yield got
        return "returned"

    def outer() -> Generator[str, str, None]:
        result = yield from inner()
        yield result

    sent = outer()
    assert [next(sent), sent.send("sent"), next(sent)] == ["ready", "sent", "returned"]

    thrown = outer()
    assert [next(thrown), thrown.throw(LookupError("in")), next(thrown)] == ["ready", "thrown in", "returned"]

    def middleman() -> Generator[str, str, None]:
        for value in inner():  # noqa: UP028  # the difference to `yield from` is what is shown
            yield value

    lost = middleman()
    assert next(lost) == "ready"
    with pytest.raises(LookupError):
        lost.throw(LookupError("in"))


# G6


def test_g6_yield_gives_the_generator_and_yield_from_its_values() -> None:
    """G6: `yield` returns the generator, `yield from` the inner generator's items ("把生成器的结果作为结果返回").

    `yield` returns whatever stands after it. When that is a generator ("yield是将生成器作为结果返回"), the caller
    gets this one object, and not what it would have produced.

    Verdict: true.
    Seen: `yield g2()` gives one generator, `yield from g2()` gives 1, 2, 3.
    """
    made = []

    def with_yield():
        made.append(g2())
        yield made[0]

    def with_yield_from():
        yield from g2()

    assert list(with_yield()) == made
    assert list(with_yield_from()) == [1, 2, 3]


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

    Verdict: imprecise.
    Seen: all three steps of B fall inside the wait of A; where A calls `time.sleep` instead, no step does.
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
