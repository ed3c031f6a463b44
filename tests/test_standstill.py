"""A test that can never finish on the virtual clock: found at once, with who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._judge.standstill import circle
from pytest_concurrency._show.messages import Page
from pytest_concurrency._show.standstill import standstill_message
from pytest_concurrency._trace import Place, Standstill, Strand, Trace, Wait

if TYPE_CHECKING:
    from collections.abc import Sequence


def waits(*on: Sequence[int]) -> tuple[Wait, ...]:
    return tuple(Wait(number, "lock", on=tuple(others)) for number, others in enumerate(on, 1))


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (waits([2], [3], [1]), (1, 2, 3)),
        (waits([2], [3], [2]), (2, 3)),
        (waits([1]), (1,)),
        (waits([2, 3], [], [4], [3]), (3, 4)),
        (waits([2], [], [2]), ()),
        (waits([9]), ()),
        ((), ()),
    ],
    ids=["all", "a tail leads to it", "itself", "one of two ways", "none", "an unknown strand", "nobody"],
)
def test_a_circle_is_found_where_there_is_one(graph: tuple[Wait, ...], expected: tuple[int, ...]) -> None:
    assert circle(graph) == expected


AT = Place("/app/work.py", 7, "work")
PAGE = Page("/app")


def trace(*names: str) -> Trace:
    return Trace(strands=tuple(Strand(number, "asyncio-task", name, 1, 1) for number, name in enumerate(names, 1)))


def test_the_message_with_a_circle() -> None:
    still = Standstill(
        5.0,
        (
            Wait(1, "task", on=(2, 3), place=Place("/app/test_it.py", 12, "test_it")),
            Wait(2, "lock", 77, (3,), AT),
            Wait(3, "semaphore", 78, (2,), AT),
        ),
    )

    assert standstill_message(trace("Task-1", "Task-2", "Task-3"), still, PAGE) == (
        "can never finish: all 3 tasks wait and no timer is set, at 5 s of virtual time\n"
        "\n"
        "  Task-1 waits for Task-2, Task-3\n"
        "    at test_it.py:12 in test_it\n"
        "  Task-2 waits for a lock, which Task-3 holds\n"
        "    at work.py:7 in work\n"
        "  Task-3 waits for a semaphore, which Task-2 holds\n"
        "    at work.py:7 in work\n"
        "\n"
        "They wait for one another in a circle: Task-2 -> Task-3 -> Task-2. Break it at\n"
        "one of these."
    )


def test_the_message_without_a_circle() -> None:
    still = Standstill(0.0, (Wait(1, "event", place=AT),))

    assert standstill_message(trace("main"), still, PAGE) == (
        "can never finish: its only task waits and no timer is set\n"
        "\n"
        "  main waits for an event\n"
        "    at work.py:7 in work\n"
        "\n"
        "No thread, process or connection is left that could end one of these waits.\n"
        "Something must set the event, give the lock back or put the item, or the wait\n"
        "needs a time-out."
    )


def test_the_message_about_many() -> None:
    names = [f"Task-{number}" for number in range(1, 15)]
    still = Standstill(0.25, tuple(Wait(number, "task", on=(14, 13, 12, 11)) for number in range(1, 15)))

    lines = standstill_message(trace(*names), still, PAGE).splitlines()

    assert lines[0] == "can never finish: all 14 tasks wait and no timer is set, at 0.25 s of virtual time"
    assert lines[2] == "  Task-1 waits for Task-14, Task-13, Task-12 and 1 more"
    assert lines[14] == "  ... and 2 more tasks"


def test_the_message_about_a_test_whose_tasks_are_all_the_runners() -> None:
    text = standstill_message(Trace(), Standstill(0.0), PAGE)

    assert text.partition("\n")[0] == "can never finish: the test waits and no timer is set"


SUITE = """
import asyncio, threading, unittest
import pytest

pytestmark = pytest.mark.virtual_clock

async def cross(first, second):
    async with first:
        await asyncio.sleep(1)
        async with second:
            pass

async def deadlock():
    one, two = asyncio.Lock(), asyncio.Lock()
    await asyncio.gather(cross(one, two), cross(two, one))

def test_deadlock():
    asyncio.run(deadlock())

def test_deadlock_recorded(concurrency):
    asyncio.run(deadlock())

def test_cancellation_that_is_swallowed():
    async def main():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
    asyncio.run(main())

def test_caught_by_the_body():
    with pytest.raises(BaseException):
        asyncio.run(asyncio.Event().wait())

class TestCase(unittest.IsolatedAsyncioTestCase):
    async def test_unittest(self):
        await asyncio.Event().wait()

def test_in_a_thread():
    thread = threading.Thread(target=asyncio.run, args=(asyncio.Event().wait(),))
    thread.start()
    thread.join()

def test_somebody_comes_late():
    async def main():
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        threading.Timer(0.05, loop.call_soon_threadsafe, (event.set,)).start()
        await event.wait()
    asyncio.run(main())

def test_time_out_in_another_thread():
    async def main():
        await asyncio.Event().wait()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    job = asyncio.run_coroutine_threadsafe(main(), loop)
    with pytest.raises(TimeoutError):
        job.result(timeout=0.05)
    job.cancel()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
"""


@pytest.mark.parametrize("args", [(), ("-n2",)], ids=["alone", "xdist"])
def test_everybody_waits_on_asyncio(args: tuple[str, ...], inner: Any, pytester: pytest.Pytester) -> None:
    if args:
        pytest.importorskip("xdist")
    pytester.makepyfile(test_it=SUITE)

    result = inner("-p", "no:asyncio", "-W", "ignore", *args)

    result.assert_outcomes(passed=2, failed=6)
    for test in ("deadlock", "deadlock_recorded"):
        result.stdout.fnmatch_lines([f"FAILED *::test_{test} - can never finish: all 3*"])
    for test in ("cancellation_that_is_swallowed", "caught_by_the_body", "unittest", "in_a_thread"):
        result.stdout.fnmatch_lines([f"FAILED *::test_{test} - can never*"])
    if not args:
        result.stdout.fnmatch_lines(
            [
                "can never finish: all 3 tasks wait and no timer is set, at 1 s of virtual time",
                "",
                "  Task-1 waits for Task-2, Task-3",
                "    at test_it.py:14 in deadlock",
                "  Task-2 waits for a lock",
                "    at test_it.py:9 in cross",
                "*_ test_deadlock_recorded _*",
                "  * waits for a lock, which Task-* holds",
                "They wait for one another in a circle: Task-* -> Task-* -> Task-*. Break it at",
                "one of these.",
            ]
        )


def test_everybody_waits_under_the_plugins(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    pytest.importorskip("trio")
    pytester.makepyfile(
        test_it="""
        import pytest, trio, anyio

        pytestmark = pytest.mark.virtual_clock

        @pytest.fixture(scope="module", params=["asyncio", "trio"])
        def anyio_backend(request):
            return request.param

        @pytest.mark.anyio
        async def test_for_ever():
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                await anyio.sleep(1)
                await anyio.Event().wait()

        @pytest.mark.anyio
        async def test_the_shared_loop_goes_on(virtual_clock):
            await anyio.sleep(2)
            assert virtual_clock.elapsed == 2

        def test_trio():
            async def main():
                send, receive = trio.open_memory_channel(0)
                await receive.receive()
            trio.run(main)
        """
    )

    result = inner("-p", "no:asyncio")

    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        [
            "can never finish: all 2 tasks wait and no timer is set, at 1 s of virtual time",
            "",
            "  Task-2 waits for an event",
            "    at test_it.py:14 in test_for_ever",
            "  sleep_forever waits for a time that never comes",
            "",
            "No thread*",
        ]
    )
    result.stdout.fnmatch_lines(["  main waits for a queue", "    at test_it.py:24 in test_trio.<locals>.main"])
    for test in ("test_for_ever[[]asyncio]", "test_for_ever[[]trio]", "test_trio"):
        result.stdout.fnmatch_lines([f"FAILED *::{test} - can never*"])


def test_everybody_waits_under_pytest_asyncio(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        test_it="""
        import asyncio, pytest

        pytestmark = [pytest.mark.virtual_clock, pytest.mark.asyncio(loop_scope="module")]

        async def test_for_ever():
            await asyncio.Queue().get()

        async def test_the_shared_loop_goes_on(virtual_clock):
            await asyncio.sleep(2)
            assert virtual_clock.elapsed == 2
        """
    )

    result = inner()

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED *::test_for_ever - can never*"])
