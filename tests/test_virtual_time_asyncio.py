"""Virtual time on asyncio, by itself and through every runner."""

from __future__ import annotations

import asyncio
import queue
import socket
import sys
import threading
import time
from asyncio.base_events import BaseEventLoop
from contextlib import closing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._virtual_time import VirtualClock, timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with clock.install(patch_time=False):
        yield clock


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "PATIENCE", 0.01)


def in_new_loop(main: Coroutine[Any, Any, Any]) -> Any:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def in_thread(main: Coroutine[Any, Any, Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(main)))
    thread.start()
    thread.join()
    return results[0]


def in_anyio(main: Coroutine[Any, Any, Any]) -> Any:
    if find_spec("anyio") is None:
        main.close()
        pytest.skip("anyio is not installed")
    import anyio

    async def run() -> Any:
        return await main

    return anyio.run(run)


@pytest.mark.parametrize("run", [asyncio.run, in_new_loop, in_thread, in_anyio], ids=lambda run: run.__name__)
def test_durations_are_exact_and_cost_nothing(run: Callable[..., Any], clock: VirtualClock) -> None:
    async def main() -> float:
        start = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        await asyncio.sleep(0.5)
        return asyncio.get_running_loop().time() - start

    began = time.monotonic()

    assert run(main()) == 3600.5
    assert clock.elapsed == clock.now == 3600.5
    assert time.monotonic() - began < 60


def test_tenths_add_up(clock: VirtualClock) -> None:
    async def main() -> list[float]:
        shown = []
        for seconds in (0.1,) * 10 + (0.2, 0.1):
            await asyncio.sleep(seconds)
            shown.append(asyncio.get_running_loop().time())
        return shown

    # 0.1 + 0.2 is more than 0.3, and ten times 0.1 less than 1.0, where floats are added up.
    assert asyncio.run(main()) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.3]
    assert clock.elapsed == 1.3


def test_no_timer_fires_before_the_time_it_was_set_for(clock: VirtualClock) -> None:
    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        came: list[bool] = []
        await asyncio.sleep(0.1)
        # A deadline that its user has computed, and compares with the time that he finds.
        when = loop.time() + 0.2
        assert when > 0.3
        loop.call_at(when, lambda: came.append(loop.time() >= when))
        await asyncio.sleep(1)
        return came

    assert asyncio.run(main()) == [True]
    assert clock.elapsed == 1.1


@pytest.mark.parametrize("before", [False, True], ids=["made in the test", "there before"])
def test_a_loop_with_a_clock_of_its_own_class_is_put_on_virtual_time_and_goes_on(before: bool) -> None:
    class Slanted(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() + 1000

    async def main() -> float:
        start = loop.time()
        times.append(start)
        await asyncio.sleep(5000)
        times.append(loop.time())
        return times[-1] - start

    clock = VirtualClock()
    loops = [Slanted()] if before else []
    times = [loop.time() for loop in loops]
    with clock.install(patch_time=False):
        loop = loops[0] if before else Slanted()
        times.append(loop.time())
        assert loop.run_until_complete(main()) == 5000
    times.append(loop.time())
    loop.close()

    assert clock.elapsed == 5000
    assert times == sorted(times)
    assert times[-1] - times[-2] < 60


def test_timers_fire_in_order_at_their_own_times(clock: VirtualClock) -> None:
    fired: list[tuple[float, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for seconds in (2.0, 0.25, 1e-06, 86400.0 * 365, 0.25):
            loop.call_later(seconds, lambda seconds=seconds: fired.append((seconds, loop.time())))
        await asyncio.sleep(86400 * 366)

    asyncio.run(main())

    assert fired == [(each, each) for each in (1e-06, 0.25, 0.25, 2.0, 86400.0 * 365)]


def test_a_cancelled_timer_does_not_move_time(clock: VirtualClock) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(5, print).cancel()
        await asyncio.sleep(10)
        asyncio.get_running_loop().call_later(5, print).cancel()

    asyncio.run(main())

    assert clock.elapsed == 10


def test_a_time_out_comes_at_once(clock: VirtualClock) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert clock.elapsed == 30


def test_a_loop_of_before_goes_on_from_its_own_time() -> None:
    loop = asyncio.new_event_loop()
    before = loop.time()
    clock = VirtualClock()

    with clock.install(patch_time=False):
        start = loop.time()
        loop.run_until_complete(asyncio.sleep(7))
        passed = loop.time() - start

    assert before <= start
    assert passed == 7
    assert clock.elapsed == 7
    loop.close()


def test_a_shared_loop_never_goes_back_and_runs_in_real_time_again() -> None:
    loop = asyncio.new_event_loop()
    times = [loop.time()]
    plain = dict(vars(loop))
    for _ in range(2):
        with VirtualClock().install(patch_time=False):
            times.append(loop.time())
            loop.run_until_complete(asyncio.sleep(1000))
            times.append(loop.time())
        times.append(loop.time())

    loop.run_until_complete(asyncio.sleep(0.002))
    times.append(loop.time())

    assert times == sorted(times)
    assert times[-1] - times[-2] < 60
    assert times[-1] - times[0] >= 2000
    assert vars(loop).keys() - plain.keys() == {"time"}
    assert "select" not in vars(loop._selector)  # type: ignore[attr-defined]
    assert loop._clock_resolution == plain["_clock_resolution"]  # type: ignore[attr-defined]
    loop.close()


def test_a_loop_that_time_did_not_carry_ahead_is_as_before() -> None:
    loop = asyncio.new_event_loop()
    before = dict(vars(loop))

    with VirtualClock().install(patch_time=False):
        loop.run_until_complete(asyncio.to_thread(time.sleep, 0.01))

    assert vars(loop).keys() == before.keys()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_all_is_undone_after_an_exception() -> None:
    before = {name: vars(BaseEventLoop)[name] for name in ("__init__", "_run_once", "time")}

    async def main() -> float:
        await asyncio.sleep(1)
        return 1 / 0

    with pytest.raises(ZeroDivisionError), VirtualClock().install(patch_time=False):
        asyncio.run(main())

    assert {name: vars(BaseEventLoop)[name] for name in before} == before


# -- real work


def test_time_does_not_jump_past_a_worker_thread(clock: VirtualClock) -> None:
    async def main() -> None:
        async with asyncio.timeout(1e-3):
            await asyncio.to_thread(time.sleep, 0.03)
        assert clock.elapsed == 0
        await asyncio.sleep(1)

    asyncio.run(main())

    assert clock.elapsed == 1


def test_time_does_not_jump_past_a_thread_that_calls_back(clock: VirtualClock) -> None:
    async def main() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            time.sleep(0.03)
            loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=work)
        thread.start()
        async with asyncio.timeout(5):
            await done.wait()
        thread.join()

    asyncio.run(main())

    assert clock.elapsed == 0


def test_a_worker_that_waits_for_the_loop_holds_nothing_up(clock: VirtualClock) -> None:
    async def main() -> int:
        items: queue.Queue[int] = queue.Queue()
        consumer = asyncio.create_task(asyncio.to_thread(items.get))
        await asyncio.sleep(50)
        items.put(3)
        return await consumer

    assert asyncio.run(main()) == 3
    assert clock.elapsed == 50


def test_a_worker_that_never_ends_does_not_stop_time_for_good(clock: VirtualClock, impatient: None) -> None:
    async def main() -> None:
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(0.001):
                pass

        worker = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0.02)
        assert clock.elapsed == 0.02
        stop.set()
        await worker

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="the selector loop of Windows starts no processes")
def test_time_does_not_jump_past_a_child_process(clock: VirtualClock) -> None:
    async def main() -> bytes:
        command = "import time; time.sleep(0.03); print('done')"
        child = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", command, stdout=-1)
        async with asyncio.timeout(0.5):
            output, _ = await child.communicate()
        return output

    assert asyncio.run(main()).strip() == b"done"


def test_time_does_not_jump_past_bytes_between_two_sockets(clock: VirtualClock) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            await asyncio.sleep(3)
            writer.write(data)
        writer.close()

    async def main() -> float:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(20):
            async with asyncio.timeout(3.001):
                writer.write(b"x" * 1000)
                await reader.readexactly(1000)
        took = clock.elapsed
        # The connection is open and idle, the server listens: neither keeps time from moving.
        await asyncio.sleep(100)
        writer.close()
        await writer.wait_closed()
        server.close()
        return took

    assert asyncio.run(main()) == 60
    assert clock.elapsed == 160


def test_a_silent_peer_elsewhere_lets_time_run_in_real_time(clock: VirtualClock, impatient: None) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", "import sys; sys.stdin.read()", stdin=-1, pass_fds=(there.fileno(),)
        )
        there.close()
        reader, writer = await asyncio.open_connection(sock=here)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await reader.read()
        writer.close()
        await child.communicate(b"")

    asyncio.run(main())


def test_polling_for_a_timer_without_rest_ends(clock: VirtualClock, impatient: None) -> None:
    async def main() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, done.set)
        while not done.is_set():
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_loop_with_nothing_to_come_waits_for_real(clock: VirtualClock) -> None:
    async def main() -> float:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        threading.Timer(0.05, loop.call_soon_threadsafe, (woken.set,)).start()
        before = time.process_time()
        await woken.wait()
        return time.process_time() - before

    assert asyncio.run(main()) < 0.04
    assert clock.elapsed == 0


def test_two_loops_share_one_time(clock: VirtualClock) -> None:
    order: list[tuple[str, float]] = []

    async def ticks(name: str, period: float) -> None:
        for _ in range(3):
            await asyncio.sleep(period)
            order.append((name, clock.now))

    async def main() -> None:
        other = asyncio.to_thread(asyncio.run, ticks("b", 2))
        await asyncio.gather(ticks("a", 3), other)

    asyncio.run(main())

    # The second loop starts while the first one waits for it, at 0.
    assert sorted(order, key=lambda each: each[1]) == order
    assert {each for each in order if each[1] != 6} == {("b", 2), ("a", 3), ("b", 4), ("a", 9)}
    assert clock.elapsed == 9


# -- advance


def test_advance_shows_at_once_and_fires_one_timer_after_the_other(clock: VirtualClock) -> None:
    log: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def each(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            log.append(f"{name} at {loop.time()}")
            for _ in range(3):
                await asyncio.sleep(0)
            log.append(f"{name} done")

        tasks = [asyncio.create_task(each(name, at)) for name, at in (("c", 9), ("b", 2), ("a", 1))]
        await asyncio.sleep(0)
        clock.advance(5)
        log.append(f"advanced to {loop.time()}")
        for task in reversed(tasks):
            await task

    asyncio.run(main())

    assert log == ["advanced to 5.0", "a at 5.0", "a done", "b at 5.0", "b done", "c at 9.0", "c done"]


def test_advance_between_two_runs_of_a_loop(clock: VirtualClock) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(1))

    clock.advance(2.5)

    assert loop.time() == 3.5
    loop.run_until_complete(asyncio.sleep(1))
    assert clock.now == 4.5
    loop.close()


def test_patched_sleep_in_a_task_moves_time() -> None:
    clock = VirtualClock()

    async def main() -> tuple[float, float]:
        start = time.monotonic()
        time.sleep(10)
        await asyncio.sleep(5)
        await asyncio.to_thread(time.sleep, 100)
        return time.monotonic() - start, asyncio.get_running_loop().time() - time.monotonic()

    with clock.install(patch_time=True):
        passed, apart = asyncio.run(main())

    assert passed == 115
    assert apart == pytest.approx(0, abs=1e-6)
    assert clock.elapsed == 115


# -- uvloop

REFUSED = (
    "virtual time needs an asyncio loop with a Python selector, and this test runs on uvloop's Loop: its timers are "
    "out of reach. Run this test on asyncio's own loop (asyncio.SelectorEventLoop; for anyio: no use_uvloop), or on "
    "trio, or take virtual_clock off."
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", ["run", "runner", "loop"])
def test_uvloop_is_refused_before_anything_runs(how: str, clock: VirtualClock) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        raise AssertionError("must not run")

    def run() -> None:
        if how == "run":
            uvloop.run(main())
        elif how == "runner":
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        else:
            with closing(uvloop.new_event_loop()) as loop:
                loop.run_until_complete(main())

    with pytest.raises(RuntimeError) as caught:
        run()

    assert str(caught.value) == REFUSED


def test_uvloop_runs_again_afterwards() -> None:
    uvloop = pytest.importorskip("uvloop")
    with VirtualClock().install(patch_time=False):
        pass

    assert uvloop.run(asyncio.sleep(0, "ran")) == "ran"


# -- in pytest


def test_pytest_asyncio_with_a_loop_for_each_test_and_a_shared_one(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    pytester.makepyfile(
        """
        import asyncio, time
        import pytest, pytest_asyncio

        seen = []

        @pytest_asyncio.fixture
        async def served():
            await asyncio.sleep(100)
            yield asyncio.get_running_loop()
            await asyncio.sleep(100)

        @pytest.mark.asyncio
        @pytest.mark.virtual_clock
        async def test_function_loop(virtual_clock, served):
            await asyncio.sleep(1)
            await asyncio.sleep(2)
            assert virtual_clock.elapsed == 3
            assert virtual_clock.now == 103

        @pytest.mark.parametrize("_", "ab")
        @pytest.mark.asyncio(loop_scope="module")
        @pytest.mark.virtual_clock
        async def test_module_loop(_, virtual_clock):
            start = asyncio.get_running_loop().time()
            assert not seen or start >= seen[-1]
            await asyncio.sleep(1000)
            seen.append(asyncio.get_running_loop().time())
            assert (virtual_clock.elapsed, seen[-1] - start) == (1000, 1000)

        @pytest.mark.asyncio(loop_scope="module")
        async def test_module_loop_in_real_time():
            began, start = time.monotonic(), asyncio.get_running_loop().time()
            assert start >= seen[-1]
            await asyncio.sleep(0.01)
            passed = asyncio.get_running_loop().time() - start
            assert 0.009 < passed < time.monotonic() - began + 0.01
        """
    )

    inner("-W", "error", "-o", "asyncio_default_fixture_loop_scope=function").assert_outcomes(passed=4)


def test_the_other_runners(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    pytester.makepyfile(
        """
        import asyncio, unittest
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        @pytest.mark.virtual_clock
        async def test_anyio(virtual_clock):
            await asyncio.sleep(3)
            assert virtual_clock.elapsed == 3

        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(3)
        class TestCase(unittest.IsolatedAsyncioTestCase):
            async def test_unittest(self):
                await asyncio.sleep(3)

        def test_the_fixture_is_enough(virtual_clock):
            asyncio.run(asyncio.sleep(3))
            assert virtual_clock.elapsed == 3

        @pytest.mark.virtual_clock(patch_time=True)
        def test_without_a_loop():
            import time
            start = time.time()
            time.sleep(10000)
            assert time.time() - start == pytest.approx(10000)
        """
    )

    inner("-W", "error", "-p", "no:asyncio").assert_outcomes(passed=4)


def test_uvloop_under_anyios_plugin_is_refused(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    pytest.importorskip("uvloop")
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio", {"use_uvloop": True}

        @pytest.mark.anyio
        @pytest.mark.virtual_clock
        async def test_it():
            pass
        """
    )

    result = inner("-p", "no:asyncio")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E   *RuntimeError: {REFUSED}"])


def test_deadlines(inner: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        async def one_by_one():
            await asyncio.sleep(2)
            await asyncio.sleep(1)

        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(3)
        def test_in_time():
            asyncio.run(one_by_one())

        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(2)
        def test_late():
            asyncio.run(one_by_one())

        @pytest.mark.must_finish_within(60)
        def test_in_real_time():
            pass

        @pytest.mark.must_finish_within(0)
        def test_late_in_real_time():
            pass

        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(2)
        def test_own_exception():
            asyncio.run(one_by_one())
            pytest.skip("no verdict over this")
        """
    )

    result = inner()

    result.assert_outcomes(passed=2, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*_ test_late _*",
            "took 3 s of virtual time, expected at most 2 s",
            "*_ test_late_in_real_time _*",
            "took * s, expected at most 0 s",
            "FAILED test_deadlines.py::test_late - took 3 s of virtual time*",
        ]
    )


def test_wrong_marker_arguments_fail_with_a_sentence(inner: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.must_finish_within("soon")
        def test_words():
            pass

        @pytest.mark.must_finish_within
        def test_nothing():
            pass

        @pytest.mark.virtual_clock(True)
        def test_position():
            pass

        @pytest.mark.virtual_clock(patch_time=1)
        def test_number():
            pass
        """
    )

    result = inner()

    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(
        [
            "@pytest.mark.must_finish_within('soon'): expected seconds, such as 0.5, not 'soon'",
            "@pytest.mark.must_finish_within(): missing a required argument: 'seconds'",
            "@pytest.mark.virtual_clock(True): too many positional arguments",
            "@pytest.mark.virtual_clock(patch_time=1): patch_time=1: expected True or False",
        ]
    )


def test_under_xdist(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        @pytest.mark.parametrize("seconds", range(6))
        @pytest.mark.virtual_clock(patch_time=True)
        @pytest.mark.must_finish_within(0.5)
        def test_it(seconds):
            asyncio.run(asyncio.sleep(seconds))
        """
    )

    result = inner("-n2")

    result.assert_outcomes(passed=1, failed=5)
    result.stdout.fnmatch_lines(["*took 5 s of virtual time, expected at most 0.5 s*"])
