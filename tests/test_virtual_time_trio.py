"""Virtual time on trio: runs of its own, guests, and the plugins that start them."""

from __future__ import annotations

import asyncio
import queue
import socket
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._virtual_time import VirtualClock, timeline

trio = pytest.importorskip("trio", reason="trio is not installed")
pytest.importorskip("trio.testing")

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


def alone(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main)


def guest(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run in guest mode as anyio's pytest plugin does."""
    calls: queue.Queue[Callable[[], object]] = queue.Queue()
    done: list[Any] = []
    trio.lowlevel.start_guest_run(main, run_sync_soon_threadsafe=calls.put, done_callback=done.append)
    while not done:
        calls.get()()
    return done[0].unwrap()


def guest_of_asyncio(main: Callable[[], Awaitable[Any]]) -> Any:
    async def host() -> Any:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            main, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done.set_result
        )
        return (await done).unwrap()

    return asyncio.run(host())


def in_thread(main: Callable[[], Awaitable[Any]]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(trio.run(main)))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with clock.install(patch_time=False):
        yield clock


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "PATIENCE", 0.01)


@pytest.fixture(params=[alone, guest, guest_of_asyncio, in_thread], ids=lambda run: run.__name__)
def run(request: pytest.FixtureRequest, clock: VirtualClock) -> Callable[..., Any]:
    found: Callable[..., Any] = request.param
    return found


def test_durations_are_exact_and_cost_nothing(run: Callable[..., Any], clock: VirtualClock) -> None:
    async def main() -> float:
        start = trio.current_time()
        await trio.sleep(3600)
        for seconds in (0.1, 0.2):
            await trio.sleep(seconds)
        return float(trio.current_time() - start)

    began = time.monotonic()

    assert run(main) == 3600.3
    assert clock.elapsed == clock.now == 3600.3
    assert time.monotonic() - began < 60


def test_a_time_out_comes_at_once(run: Callable[..., Any], clock: VirtualClock) -> None:
    async def main() -> bool:
        with trio.move_on_after(30) as scope:
            await trio.sleep_forever()
        return bool(scope.cancelled_caught)

    assert run(main)
    assert clock.elapsed == 30


def test_time_does_not_jump_past_a_worker_thread(run: Callable[..., Any], clock: VirtualClock) -> None:
    async def main() -> None:
        with trio.fail_after(1e-3):
            await trio.to_thread.run_sync(time.sleep, 0.03)
        assert clock.elapsed == 0
        # The worker is kept for the next job, and waits for it with a time limit: it is not at work.
        await trio.sleep(1)

    run(main)

    assert clock.elapsed == 1


def test_a_worker_that_waits_for_the_loop_holds_nothing_up(run: Callable[..., Any], clock: VirtualClock) -> None:
    items: queue.Queue[int] = queue.Queue()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, items.get)
            await trio.sleep(50)
            items.put(3)

    run(main)

    assert clock.elapsed == 50


@pytest.mark.skipif(sys.platform == "win32", reason="the command is one of POSIX")
def test_time_does_not_jump_past_a_child_process(run: Callable[..., Any], clock: VirtualClock) -> None:
    async def main() -> bytes:
        command = [sys.executable, "-S", "-c", "import time; time.sleep(0.03); print('done')"]
        with trio.fail_after(0.5):
            return bytes((await trio.run_process(command, capture_stdout=True)).stdout)

    assert run(main).strip() == b"done"


def test_time_does_not_jump_past_bytes_between_two_sockets(run: Callable[..., Any], clock: VirtualClock) -> None:
    async def answer(stream: Any) -> None:
        async for data in stream:
            await trio.sleep(3)
            await stream.send_all(data)

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
            async with await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]) as stream:
                for _ in range(20):
                    with trio.fail_after(3.001):
                        await stream.send_all(b"x")
                        await stream.receive_some(1)
                took = clock.elapsed
                await trio.sleep(100)
            nursery.cancel_scope.cancel()
        return took

    assert run(main) == 60
    assert clock.elapsed == 160


def test_a_silent_peer_elsewhere_lets_time_run_in_real_time(
    run: Callable[..., Any], clock: VirtualClock, impatient: None
) -> None:
    async def main() -> bool:
        here, there = socket.socketpair()
        command = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]
        child = await trio.lowlevel.open_process(command, stdin=-1, pass_fds=(there.fileno(),))
        there.close()
        async with trio.SocketStream(trio.socket.from_stdlib_socket(here)) as stream:
            with trio.move_on_after(0.03) as scope:
                await stream.receive_some(1)
        await child.stdin.aclose()
        await child.wait()
        return bool(scope.cancelled_caught)

    assert run(main)


def test_polling_for_a_deadline_without_rest_ends(
    run: Callable[..., Any], clock: VirtualClock, impatient: None
) -> None:
    async def main() -> bool:
        with trio.move_on_after(0.01) as scope:
            while True:
                await trio.sleep(0)
        return bool(scope.cancelled_caught)

    assert run(main)


def test_advance_shows_at_once_and_fires_one_deadline_after_the_other(
    run: Callable[..., Any], clock: VirtualClock
) -> None:
    log: list[str] = []

    async def each(name: str, seconds: float) -> None:
        await trio.sleep(seconds)
        log.append(f"{name} at {trio.current_time()}")
        for _ in range(3):
            await trio.sleep(0)
        log.append(f"{name} done")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name, seconds in (("c", 9), ("b", 2), ("a", 1)):
                nursery.start_soon(each, name, seconds)
            await trio.testing.wait_all_tasks_blocked()
            clock.advance(5)
            log.append(f"advanced to {trio.current_time()}")

    run(main)

    assert log == ["advanced to 5.0", "a at 5.0", "a done", "b at 5.0", "b done", "c at 9.0", "c done"]


def test_waiting_for_all_tasks_to_block_comes_before_time(run: Callable[..., Any], clock: VirtualClock) -> None:
    async def main() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 5)
            await trio.testing.wait_all_tasks_blocked(0.001)
            return clock.elapsed

    assert run(main) == 0
    assert clock.elapsed == 5


@pytest.mark.parametrize("start", [alone, guest], ids=lambda run: run.__name__)
def test_patched_time(start: Callable[..., Any]) -> None:
    clock = VirtualClock()

    async def main() -> float:
        began = time.monotonic()
        time.sleep(10)
        await trio.sleep(5)
        await trio.to_thread.run_sync(time.sleep, 100)
        return time.monotonic() - began

    with clock.install(patch_time=True):
        assert start(main) == 115

    assert clock.elapsed == 115


def test_a_clock_that_the_run_was_given_is_followed(clock: VirtualClock) -> None:
    async def main() -> float:
        await trio.sleep(5)
        clock.advance(2)
        return float(trio.current_time())

    clock.advance(100)
    clock.start_body()

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) == 7
    assert (clock.now, clock.elapsed) == (107, 7)


def test_a_given_clock_that_cannot_jump_cannot_be_advanced(clock: VirtualClock) -> None:
    async def main() -> None:
        clock.advance(2)

    with pytest.raises(RuntimeError) as caught:
        trio.run(main, clock=trio._core._run.SystemClock())

    assert str(caught.value) == (
        "advance(2): this trio run has a clock of its own, SystemClock, which has no jump(). Advance that clock, or do "
        "not give the run one."
    )


def test_a_run_that_outlives_the_test_goes_on_in_real_time() -> None:
    calls: queue.Queue[Callable[[], object]] = queue.Queue()
    done: list[Any] = []
    times: list[float] = []
    go = [trio.Event() for _ in range(2)]
    reached: list[int] = []

    async def main() -> None:
        times.append(trio.current_time())
        for number, event in enumerate(go):
            await trio.sleep(0.001)
            times.append(trio.current_time())
            reached.append(number)
            await event.wait()
        await trio.sleep(0.001)
        times.append(trio.current_time())

    def until(claim: Callable[[], object]) -> None:
        while not claim():
            calls.get()()

    trio.lowlevel.start_guest_run(main, run_sync_soon_threadsafe=calls.put, done_callback=done.append)
    until(lambda: reached == [0])
    clock = VirtualClock()
    with clock.install(patch_time=False):
        go[0].set()
        until(lambda: reached == [0, 1])
        assert clock.elapsed == 0.001
        clock.advance(1000)
        times.append(trio.current_time())
    times.append(trio.current_time())
    go[1].set()
    until(lambda: done)

    assert times == sorted(times)
    assert 1000 < times[-1] - times[0] < 1060


def test_all_is_undone_after_an_exception() -> None:
    before = trio._core._run.setup_runner, trio._core._run.TheIOManager.get_events

    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), VirtualClock().install(patch_time=False):
        trio.run(main)

    assert before == (trio._core._run.setup_runner, trio._core._run.TheIOManager.get_events)


def test_another_trio_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(trio._core._run, "setup_runner")

    with VirtualClock().install(patch_time=False), pytest.raises(RuntimeError) as caught:
        trio.run(trio.sleep, 1)

    assert str(caught.value) == (
        f"virtual time does not know trio {trio.__version__} from the inside (no setup_runner or TheIOManager): "
        "pass clock=trio.testing.MockClock(autojump_threshold=0) to trio.run, or use another version of trio."
    )


# -- in pytest


def test_pytest_trio(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("pytest_trio")
    pytester.makepyfile(
        """
        import pytest, trio

        @pytest.fixture
        async def served():
            await trio.sleep(100)
            yield
            await trio.sleep(100)

        @pytest.mark.trio
        @pytest.mark.virtual_clock
        async def test_it(virtual_clock, served):
            # pytest-trio sets up its fixtures in the run, as part of the body.
            assert virtual_clock.elapsed == 100
            await trio.sleep(3)
            assert virtual_clock.elapsed == 103

        @pytest.mark.trio
        @pytest.mark.virtual_clock
        async def test_own_clock(virtual_clock, autojump_clock):
            await trio.sleep(3)
            assert virtual_clock.elapsed == 3 == trio.current_time()
        """
    )

    inner("-p", "no:asyncio").assert_outcomes(passed=2)


def test_anyio_on_both_backends(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    pytester.makepyfile(
        """
        import time
        import anyio, pytest

        @pytest.fixture(scope="module", params=["asyncio", "trio"])
        def anyio_backend(request):
            return request.param

        @pytest.fixture(scope="module")
        async def shared(anyio_backend):
            await anyio.sleep(0.001)
            yield
            await anyio.sleep(0.001)

        @pytest.mark.anyio
        async def test_real_time(shared):
            start, began = anyio.current_time(), time.monotonic()
            await anyio.sleep(0.01)
            assert 0.009 < anyio.current_time() - start < time.monotonic() - began + 0.01

        @pytest.mark.anyio
        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(1000)
        async def test_virtual(virtual_clock, shared):
            async with anyio.create_task_group() as group:
                for seconds in (1000, 500):
                    group.start_soon(anyio.sleep, seconds)
                await anyio.to_thread.run_sync(time.sleep, 0.01)
            assert virtual_clock.elapsed == 1000
            with pytest.raises(TimeoutError), anyio.fail_after(0):
                await anyio.sleep(1)

        @pytest.mark.anyio
        async def test_real_time_again(shared):
            start, began = anyio.current_time(), time.monotonic()
            await anyio.sleep(0.01)
            assert 0.009 < anyio.current_time() - start < time.monotonic() - began + 0.01

        @pytest.mark.anyio
        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(999)
        async def test_late(shared):
            await anyio.sleep(1000)
        """
    )

    result = inner("-p", "no:asyncio")

    result.assert_outcomes(passed=6, failed=2)
    result.stdout.fnmatch_lines(["took 1000 s of virtual time, expected at most 999 s"])
