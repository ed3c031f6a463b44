"""Where other virtual clocks go wrong, one test each, named for what goes wrong there."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._blocking.guard import Guard
from pytest_concurrency._settings import KINDS, Blocking
from pytest_concurrency._virtual_time import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with clock.install(patch_time=False):
        yield clock


def test_trio_autojump_jumps_while_a_worker_thread_works(clock: VirtualClock) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        with trio.fail_after(1):
            await trio.to_thread.run_sync(time.sleep, 0.02)

    trio.run(main)

    assert clock.elapsed == 0


def test_trio_autojump_jumps_while_bytes_are_on_their_way_between_two_sockets(clock: VirtualClock) -> None:
    trio = pytest.importorskip("trio")

    async def echo(stream: Any) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            stream = await trio.testing.open_stream_to_socket_listener(listener)
            async with stream:
                for _ in range(50):
                    with trio.fail_after(0.001):
                        await stream.send_all(b"x" * 1000)
                        received = 0
                        while received < 1000:
                            received += len(await stream.receive_some(1000))
            nursery.cancel_scope.cancel()

    pytest.importorskip("trio.testing")
    trio.run(main)

    assert clock.elapsed == 0


def test_trio_with_a_clock_of_its_own_is_not_taken_away_from_it(clock: VirtualClock) -> None:
    trio = pytest.importorskip("trio")
    pytest.importorskip("trio.testing")

    async def main() -> float:
        await trio.sleep(7)
        return float(trio.current_time())

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == 7
    assert clock.elapsed == 7


def test_looptime_does_not_wait_for_the_work_of_threads(clock: VirtualClock) -> None:
    async def main() -> tuple[float, list[str]]:
        order: list[str] = []

        def work() -> None:
            time.sleep(0.02)
            order.append("thread")

        async def timer() -> None:
            await asyncio.sleep(0.001)
            order.append("timer")

        await asyncio.gather(asyncio.to_thread(work), timer())
        return clock.elapsed, order

    assert asyncio.run(main()) == (0.001, ["thread", "timer"])


def test_looptime_lets_time_go_backwards_between_two_tests_on_a_shared_loop() -> None:
    loop = asyncio.new_event_loop()
    times = []
    for _ in range(3):
        with VirtualClock().install(patch_time=False):
            times.append(loop.time())
            loop.run_until_complete(asyncio.sleep(100))
            times.append(loop.time())
        times.append(loop.time())
    loop.close()

    assert times == sorted(times)


def test_looptime_changes_the_loop_class_of_tests_that_do_not_ask_for_it(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        """
        import asyncio, warnings
        import pytest

        plain = dict(vars(asyncio.base_events.BaseEventLoop))

        def untouched(loop):
            usual = asyncio.new_event_loop()
            with_ours = set(vars(loop)) - set(vars(usual))
            usual.close()
            return type(loop) is type(usual) and not with_ours

        @pytest.mark.asyncio
        async def test_unmarked():
            assert untouched(asyncio.get_running_loop())

        @pytest.mark.asyncio
        @pytest.mark.virtual_clock
        async def test_marked():
            await asyncio.sleep(5)
            assert type(asyncio.get_running_loop()) is asyncio.SelectorEventLoop

        def test_without_a_loop():
            assert vars(asyncio.base_events.BaseEventLoop) == plain

        @pytest.mark.asyncio
        async def test_unmarked_afterwards():
            assert untouched(asyncio.get_running_loop())
        """
    )

    # No warning of a missing event loop either.
    inner(
        "-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", "--blocking=off", "-p", "no:looptime"
    ).assert_outcomes(passed=4)


def test_looptime_installed_beside_this_plugin_leaves_its_loops_on_virtual_time(
    inner: Any, pytester: pytest.Pytester
) -> None:
    pytest.importorskip("looptime", reason="looptime is not installed")
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.asyncio(loop_scope="module")
        async def test_its_loop_is_there_before():
            await asyncio.sleep(0)

        @pytest.mark.asyncio(loop_scope="module")
        @pytest.mark.virtual_clock
        async def test_ours(virtual_clock):
            await asyncio.sleep(1000)
            assert virtual_clock.elapsed == 1000

        @pytest.mark.asyncio(loop_scope="module")
        @pytest.mark.looptime
        async def test_theirs(looptime):
            await asyncio.sleep(1000)
        """
    )

    inner("-o", "asyncio_default_fixture_loop_scope=function").assert_outcomes(passed=3)


def test_fake_timers_of_javascript_fire_all_that_is_due_before_anything_else_runs(clock: VirtualClock) -> None:
    log: list[str] = []

    async def after(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        log.append(name)
        await asyncio.sleep(0)
        log.append(f"what {name} set in motion")

    async def main() -> None:
        await asyncio.gather(after("2 s", 2), after("1 s", 1))

    asyncio.run(main())

    assert log == ["1 s", "what 1 s set in motion", "2 s", "what 2 s set in motion"]


def test_callbacks_of_equal_deadlines_lose_their_order(clock: VirtualClock) -> None:
    fired: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(200):
            # The same instant, but as floats not always the same number.
            loop.call_later(0.3 if number % 2 else 0.1 + 0.2, fired.append, number)
        await asyncio.sleep(1)

    asyncio.run(main())

    assert fired == list(range(200))


def test_autojump_jumps_past_a_thread_that_has_yet_to_call_back(clock: VirtualClock) -> None:
    async def main() -> str:
        loop, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        thread = threading.Thread(
            target=lambda: (time.sleep(0.02), loop.call_soon_threadsafe(answer.set_result, "yes"))
        )
        thread.start()
        try:
            return str(await asyncio.wait_for(answer, 1))
        finally:
            thread.join()

    assert asyncio.run(main()) == "yes"
    assert clock.elapsed == 0


def test_what_the_clock_itself_looks_at_is_no_work_of_the_loops() -> None:
    """It lists threads and descriptors: weighed as files that the loop reads, each look would call for another turn."""
    guard = Guard(Blocking(kinds=frozenset(KINDS), past_threshold=frozenset()), pytest.fail)
    guard.on_block = lambda block: None
    clock = VirtualClock()

    with clock.install(patch_time=False), ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        guard.install()
        try:
            asyncio.run(asyncio.sleep(3600))
        finally:
            guard.remove()

    assert clock.elapsed == 3600
