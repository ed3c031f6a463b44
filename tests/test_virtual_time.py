"""Virtual time itself: when it moves, what it waits for, what its clocks show. No event loop, no sleeping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue, SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._virtual_time import VirtualClock, descriptors, threads
from pytest_concurrency._virtual_time.timeline import PATIENCE, PATIENCE_IN_ALL, Line, Spin, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECOND = 1_000_000_000


class FakeWorld:
    """Real time that passes only in `poll`."""

    def __init__(self) -> None:
        self.time = 100.0
        self.polls: list[float | None] = []
        self.comes_at: list[float] = []

    def real(self) -> float:
        return self.time

    def poll(self, limit: float | None) -> list[float]:
        self.polls.append(limit)
        self.time += limit or 0
        came = [each for each in self.comes_at if each <= self.time]
        self.comes_at = [each for each in self.comes_at if each > self.time]
        return came


class FakeWaiter:
    """A loop with one timer, which may have a descriptor that somebody else could write to."""

    def __init__(self, deadline: int | None, *fds: int) -> None:
        self.idle = False
        self.deadline = deadline
        self.thread: int | None = None
        self.fds = fds
        self.gave_up = False

    def running(self) -> bool:
        return True

    def ready(self) -> bool:
        return False

    def here(self) -> bool:
        return True

    def descriptors(self) -> Iterator[int]:
        return iter(self.fds)

    def tasks(self) -> Iterator[Any]:
        yield "a task"

    def give_up(self, is_of_test: Callable[[Any], bool]) -> None:
        self.gave_up = True


@pytest.fixture(scope="module", autouse=True)
def no_idle_workers() -> None:
    """Outlive the threads that other tests have left: trio's workers wait for another job before they end."""
    for thread in threading.enumerate():
        if thread.name.startswith("Trio thread"):
            thread.join(60)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def timeline(world: FakeWorld) -> Timeline:
    timeline = Timeline(world.real)
    timeline.on = True
    timeline.strangers = threads.strangers()
    return timeline


@contextmanager
def somebody_with(fd: int) -> Iterator[None]:
    """Give *fd* away to another process."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(fd,)):
        os.close(fd)
        yield


@pytest.fixture
def strange_pipe() -> Iterator[int]:
    """The end of a pipe whose other end is not in this process."""
    ours, theirs = os.pipe()
    with somebody_with(theirs):
        yield ours
    os.close(ours)


def wait(timeline: Timeline, waiter: FakeWaiter, world: FakeWorld) -> Any:
    if waiter not in timeline._waiters:
        timeline.join(waiter)
    return timeline.wait(waiter, world.poll)


def test_time_jumps_when_nothing_else_can_happen(timeline: Timeline, world: FakeWorld) -> None:
    wait(timeline, FakeWaiter(3 * SECOND), world)

    assert timeline.now == 3 * SECOND
    assert world.time == 100.0


@pytest.fixture
def told(timeline: Timeline, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is told of a standstill, in a process in which nobody else is at work."""
    told: list[list[str]] = []
    timeline.at_standstill = told.append
    monkeypatch.setattr(threads, "KERNEL_TELLS", True)
    monkeypatch.setattr(threads, "at_work", lambda *args, **kwargs: None)
    monkeypatch.setattr(descriptors, "has_children", lambda: False)
    return told


def test_without_a_timer_and_with_nothing_else_to_come_everybody_waits_for_ever(
    timeline: Timeline, world: FakeWorld, told: list[list[str]]
) -> None:
    waiter, other = FakeWaiter(None), FakeWaiter(None)
    other.idle = True
    timeline.join(other)

    wait(timeline, waiter, world)

    assert told == [["a task", "a task"]]
    assert (waiter.gave_up, other.gave_up) == (True, False)
    # It looks twice, and then once more at what may have come in.
    assert world.polls == [0, 0.0002, 0]
    assert timeline.now == 0


@pytest.mark.parametrize(
    "who", ["a thread", "a child", "a signal", "unknown threads", "a descriptor", "another's timer"]
)
def test_a_wait_without_a_timer_goes_on_as_long_as_something_may_come(
    who: str,
    timeline: Timeline,
    world: FakeWorld,
    told: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    strange_pipe: int,
) -> None:
    waiter, other = FakeWaiter(None), FakeWaiter(None)
    other.idle = True
    timeline.join(other)
    if who == "a thread":
        monkeypatch.setattr(threads, "at_work", lambda *args, **kwargs: "thread pool-1 is at work")
    elif who == "a child":
        monkeypatch.setattr(descriptors, "has_children", lambda: True)
    elif who == "a signal":
        monkeypatch.setattr(signal, "getsignal", {signal.SIGTERM: test_one_clock_at_a_time}.get)
    elif who == "unknown threads":
        monkeypatch.setattr(threads, "KERNEL_TELLS", False)
    elif who == "a descriptor":
        other.fds = (strange_pipe,)
    else:
        other.deadline = 9 * SECOND
    world.comes_at = [105.0]

    came = wait(timeline, waiter, world)

    assert came == [105.0]
    assert not told
    # It looks again, ever more seldom.
    assert len(world.polls) < 70


def test_the_loop_in_the_tests_own_thread_gives_up_first(
    timeline: Timeline, world: FakeWorld, told: list[list[str]]
) -> None:
    beside, in_test = FakeWaiter(None), FakeWaiter(None)
    in_test.idle, in_test.thread = True, timeline.thread
    timeline.thread += 1
    in_test.thread = timeline.thread
    timeline.join(in_test)
    world.comes_at = [100.5]

    wait(timeline, beside, world)

    assert not told


def test_a_thread_whose_wait_has_a_time_limit_does_not_rest_for_ever() -> None:
    future: Future[int] = Future()
    thread = threading.Thread(target=lambda: future.result(timeout=600), daemon=True)
    thread.start()

    assert eventually(lambda: threads.rests(thread))
    assert not threads.rests(thread, for_ever=True)
    future.set_result(1)
    thread.join()


def test_time_waits_for_another_loop_that_is_at_work(timeline: Timeline, world: FakeWorld) -> None:
    timeline.join(FakeWaiter(None))
    world.comes_at = [100.05]

    wait(timeline, FakeWaiter(3 * SECOND), world)

    assert timeline.now == 0


def test_the_earlier_timer_of_another_loop_comes_first(timeline: Timeline, world: FakeWorld) -> None:
    other = FakeWaiter(SECOND)
    other.idle = True
    timeline.join(other)
    world.comes_at = [100.05]

    wait(timeline, FakeWaiter(3 * SECOND), world)

    assert timeline.now == 0


def test_time_stands_still_for_real_work_and_then_jumps(
    timeline: Timeline, world: FakeWorld, strange_pipe: int
) -> None:
    waiter = FakeWaiter(3 * SECOND, strange_pipe)
    world.comes_at = [100.9]

    came = wait(timeline, waiter, world)

    assert came == [100.9]
    assert timeline.now == 0
    waiter.fds, waiter.deadline = (), 3 * SECOND
    wait(timeline, waiter, world)
    assert timeline.now == 3 * SECOND


def test_time_runs_on_when_nothing_comes_of_real_work(timeline: Timeline, world: FakeWorld, strange_pipe: int) -> None:
    wait(timeline, FakeWaiter(3 * SECOND, strange_pipe), world)

    assert timeline.now == 3 * SECOND
    assert world.time == pytest.approx(100 + PATIENCE + 3, abs=0.05)


def test_time_runs_on_although_something_comes_in_now_and_then(
    timeline: Timeline, world: FakeWorld, strange_pipe: int
) -> None:
    waiter = FakeWaiter(3 * SECOND, strange_pipe)
    world.comes_at = [100 + n / 2 for n in range(1, 100)]

    while timeline.now < 3 * SECOND:
        waiter.deadline = 3 * SECOND
        wait(timeline, waiter, world)

    assert world.time == pytest.approx(100 + PATIENCE_IN_ALL + 3, abs=0.1)


def test_a_loop_that_never_rests_gets_real_time_after_a_while(timeline: Timeline, world: FakeWorld) -> None:
    spin = Spin(timeline, world.real)

    hurried = []
    for _ in range(12):
        hurried.append(spin.turned())
        world.time += 0.125

    assert hurried == [False] * 9 + [True] * 3
    assert timeline.now == 3 * SECOND // 8
    spin.rested()
    assert not spin.turned()


def test_a_fresh_clock_adds_up_as_floats_do(timeline: Timeline) -> None:
    line = Line(timeline, 0.0)

    for seconds in (0.1, 0.2):
        when = line.time() + seconds
        point = line.point(when)
        assert point is not None
        timeline.now = point
        assert line.reach(when)

    assert line.time() == 0.1 + 0.2
    assert timeline.now == 3 * SECOND // 10


@pytest.mark.parametrize("uptime", [12345.678901234, 987654.321, 40_000_000.7], ids=["hours", "days", "a year"])
def test_a_clock_that_goes_on_is_exact_after_any_uptime(timeline: Timeline, uptime: float) -> None:
    line = Line.going_on(timeline, uptime)
    start = line.time()
    assert uptime <= start <= uptime + 0.001

    for seconds in (1, 0.1, 2, 0.2):
        when = line.time() + seconds
        point = line.point(when)
        assert point is not None
        timeline.now = point
        assert line.reach(when)
        assert line.time() >= when

    assert timeline.now == 3_300_000_000


def test_a_timer_without_an_end_is_none(timeline: Timeline) -> None:
    assert Line(timeline, 0.0).point(float("inf")) is None


# -- threads


def eventually(claim: Callable[[], bool]) -> bool:
    """Ask again for a while: a thread takes its time to get to where it waits."""
    end = time.monotonic() + 10
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


WAITS: dict[str, Callable[[], tuple[Callable[[], object], Callable[[], object]]]] = {}


def waits(name: str) -> Callable[[Any], Any]:
    def add(make: Any) -> Any:
        WAITS[name] = make
        return make

    return add


@waits("event")
def _event() -> Any:
    event = threading.Event()
    return event.wait, event.set


@waits("queue")
def _queue() -> Any:
    queue: Queue[int] = Queue()
    return queue.get, lambda: queue.put(1)


@waits("future")
def _future() -> Any:
    future: Future[int] = Future()
    return future.result, lambda: future.set_result(1)


@waits("future with a time limit")
def _timed_future() -> Any:
    future: Future[int] = Future()
    return lambda: future.result(timeout=600), lambda: future.set_result(1)


KERNEL_ONLY = ("lock", "simple queue")


@waits("lock")
def _lock() -> Any:
    lock = threading.Lock()
    lock.acquire()
    return lock.acquire, lock.release


@waits("simple queue")
def _simple_queue() -> Any:
    queue: SimpleQueue[int] = SimpleQueue()
    return queue.get, lambda: queue.put(1)


@pytest.fixture(params=["kernel", "frames"])
def told_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "frames":
        monkeypatch.setattr(threads, "KERNEL_TELLS", False)
    elif not threads.KERNEL_TELLS:
        pytest.skip("this system does not show a thread's system call")
    return str(request.param)


@pytest.mark.parametrize("name", sorted(WAITS))
def test_a_thread_that_waits_for_another_is_not_at_work(name: str, told_by: str) -> None:
    if told_by == "frames" and name in KERNEL_ONLY:
        pytest.skip("only the kernel knows")
    wait_for_it, let_go = WAITS[name]()
    thread = threading.Thread(target=wait_for_it, daemon=True)
    thread.start()

    assert eventually(lambda: threads.rests(thread))
    let_go()
    thread.join()


def _computes(stop: threading.Event) -> None:
    while not stop.is_set():
        pass


def _sleeps(stop: threading.Event) -> None:
    while not stop.is_set():
        time.sleep(0.001)


def _waits_with_a_limit(stop: threading.Event) -> None:
    while not stop.wait(0.001):
        pass


@pytest.mark.parametrize("work", [_computes, _sleeps, _waits_with_a_limit], ids=lambda work: work.__name__)
def test_a_thread_that_goes_on_by_itself_is_at_work(work: Any, told_by: str) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,), daemon=True, name="worker")
    thread.start()

    found = {threads.at_work((), ()) for _ in range(50)}

    stop.set()
    thread.join()
    # Whichever is seen first: a thread of the test runner's may be at work, too.
    assert None not in found


def test_an_idle_pool_is_not_at_work_and_a_busy_one_is(told_by: str) -> None:
    strangers = threads.strangers()
    with ThreadPoolExecutor(1, "pool") as pool:
        pool.submit(int).result()
        assert eventually(lambda: threads.at_work(strangers, ()) is None)
        stop = threading.Event()
        job = pool.submit(_computes, stop)
        assert threads.at_work(strangers, ()) is not None
        stop.set()
        job.result()


# -- descriptors


@pytest.fixture(params=["tcp", "unix", "pair"])
def connection(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[tuple[socket.socket, socket.socket]]:
    if request.param == "pair":
        here, there = socket.socketpair()
    else:
        family, address = (socket.AF_INET, ("127.0.0.1", 0)) if request.param == "tcp" else (socket.AF_UNIX, "")
        with socket.socket(family) as server:
            server.bind(address or str(tmp_path / "s"))
            server.listen()
            here = socket.socket(family)
            here.connect(server.getsockname())
            there, _ = server.accept()
    with here, there:
        yield here, there


@pytest.fixture
def childless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child of this process has inherited anything, whatever other tests have left running."""
    monkeypatch.setattr(descriptors, "has_children", lambda: False)


@pytest.mark.usefixtures("childless")
def test_a_quiet_connection_within_this_process_waits_for_nobody(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    here, there = connection

    assert eventually(lambda: descriptors.awaited([here.fileno(), there.fileno()]) is None)


def test_a_connection_that_is_not_accepted_yet_waits_for_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as here:
        assert descriptors.awaited([here.fileno(), server.fileno()]) is None


def test_a_connection_to_another_process_waits_for_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        here = socket.create_connection(("127.0.0.1", port))
        there, _ = server.accept()
    with here, somebody_with(there.detach()):
        assert descriptors.awaited([here.fileno()]) == f"descriptor {here.fileno()} waits for 127.0.0.1:{port}"


def test_a_pipe_within_this_process_waits_for_nobody_and_another_does(strange_pipe: int) -> None:
    assert descriptors.awaited([strange_pipe]) == f"descriptor {strange_pipe} waits for the other end of a pipe"


@pytest.mark.usefixtures("childless")
def test_both_ends_of_a_pipe_in_this_process_wait_for_nobody() -> None:
    ours, theirs = os.pipe()
    try:
        assert descriptors.awaited([ours]) is None
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_closed_descriptor_waits_for_nobody() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    os.close(theirs)

    assert descriptors.awaited([ours]) is None


# -- the clock


def test_advance_moves_the_clock_at_once() -> None:
    clock = VirtualClock()

    clock.advance(1.5)
    clock.start_body()
    clock.advance(2)

    assert (clock.now, clock.elapsed) == (3.5, 2.0)


@pytest.mark.parametrize("seconds", ["1", None, True], ids=repr)
def test_advance_takes_numbers(seconds: Any) -> None:
    with pytest.raises(TypeError) as caught:
        VirtualClock().advance(seconds)

    assert str(caught.value) == f"advance({seconds!r}): expected seconds as a number, such as 0.5"


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")], ids=repr)
def test_advance_takes_what_can_pass(seconds: float) -> None:
    with pytest.raises(ValueError, match="advance") as caught:
        VirtualClock().advance(seconds)

    assert str(caught.value) == (f"advance({seconds!r}): expected finite seconds that are not negative, such as 0.5")


# -- the functions of `time`


def test_the_functions_of_time_follow_the_clock() -> None:
    clock = VirtualClock()
    names = ("time", "monotonic", "perf_counter")
    real = {name: getattr(time, name) for name in dir(time)}

    with clock.install(patch_time=True):
        before = {name: getattr(time, name)() for name in names}
        before_ns = {name: getattr(time, f"{name}_ns")() for name in names}
        time.sleep(1000)
        clock.advance(0.5)
        passed = {name: getattr(time, name)() - before[name] for name in names}
        passed_ns = {getattr(time, f"{name}_ns")() - before_ns[name] for name in names}

    assert passed == pytest.approx(dict.fromkeys(names, 1000.5))
    assert passed_ns == {1_000_500_000_000}
    assert clock.now == 1000.5
    assert {name: getattr(time, name) for name in dir(time)} == real


def test_names_imported_from_time_follow_and_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "imported", time.monotonic)

    with VirtualClock().install(patch_time=True):
        patched = globals()["imported"]
        assert patched() == patched()

    assert globals()["imported"] is time.monotonic
    # Whoever kept the stand-in has the real function in it.
    assert abs(patched() - time.monotonic()) < 60


def test_a_patched_sleep_refuses_what_the_real_one_refuses() -> None:
    with (
        VirtualClock().install(patch_time=True),
        pytest.raises(ValueError, match="sleep length must be non-negative"),
    ):
        time.sleep(-1)


def test_threads_that_sleep_share_one_time() -> None:
    clock = VirtualClock()
    woke: list[float] = []

    def nap(seconds: float) -> None:
        time.sleep(seconds)
        woke.append(clock.now)

    with clock.install(patch_time=True):
        sleepers = [threading.Thread(target=nap, args=(seconds,)) for seconds in (30, 10, 20)]
        for each in sleepers:
            each.start()
        for each in sleepers:
            each.join()

    assert clock.now <= 31
    assert sorted(woke) == woke


def test_executors_keep_to_real_time_limits_under_patched_time() -> None:
    go = threading.Event()
    with ThreadPoolExecutor(1) as pool, VirtualClock().install(patch_time=True):
        job = pool.submit(go.wait)
        with pytest.raises(TimeoutError):
            job.result(timeout=0.01)
        go.set()
        assert job.result()


def test_all_is_undone_after_an_exception() -> None:
    real = time.monotonic

    with pytest.raises(ZeroDivisionError), VirtualClock().install(patch_time=True):
        raise ZeroDivisionError

    assert time.monotonic is real


def test_one_clock_at_a_time() -> None:
    first, second = VirtualClock(), VirtualClock()

    with first.install(patch_time=False), pytest.raises(RuntimeError) as caught, second.install(patch_time=False):
        pass

    assert str(caught.value) == "a virtual clock is in force already: a process has one time, for one test at a time"
    with second.install(patch_time=False):
        pass


def test_no_event_loop_is_imported_before_the_program_does(run_python: Any) -> None:
    result = run_python(
        "import sys\n"
        "from pytest_concurrency._virtual_time import VirtualClock\n"
        "clock = VirtualClock()\n"
        "with clock.install(patch_time=False):\n"
        "    print({'asyncio', 'trio', 'pytest'} & sys.modules.keys() - {'pytest'})\n"
        "    import asyncio\n"
        "    asyncio.run(asyncio.sleep(100))\n"
        "print(clock.now, len([each for each in sys.meta_path if 'pytest_concurrency' in type(each).__module__]))\n"
    )

    assert (result.stderr, result.stdout) == ("", "set()\n100.0 0\n")
