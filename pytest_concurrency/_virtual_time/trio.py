"""Virtual time on trio, in runs of its own and as a guest."""

from __future__ import annotations

import math
import sys
from contextlib import ExitStack, contextmanager
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, NoReturn

import trio
from trio.lowlevel import in_trio_run

from .._patching import patched
from . import threads
from .timeline import Line, Spin

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .timeline import Timeline

# A wait that only an event or the clock itself ends, in seconds; trio cuts it down to what it can wait.
_LONG = 999999999.0

_NEVER_DUE = -1e9


@contextmanager
def install(timeline: Timeline, adopt: Callable[[Any], object]) -> Iterator[None]:
    """Put every trio run on the *timeline* that goes on, or is set up, in the `with` block.

    A run that was given a clock of its own keeps it; *adopt* is told of that clock.

    Raises:
        RuntimeError: This version of trio is made in another way than those we know.
    """
    run: Any = trio._core._run
    io_manager = getattr(run, "TheIOManager", None)
    if not hasattr(run, "setup_runner") or not hasattr(io_manager, "get_events"):
        raise RuntimeError(
            f"virtual time does not know trio {trio.__version__} from the inside (no setup_runner or TheIOManager): "
            "pass clock=trio.testing.MockClock(autojump_threshold=0) to trio.run, or use another version of trio."
        )
    runs: dict[int, TrioClock] = {}

    def take(runner: Any, clock: TrioClock) -> None:
        clock.runner = runner
        runs[id(runner.io_manager)] = clock
        timeline.join(clock)

    def setup_runner(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(clock: Any, *args: Any, **kwargs: Any) -> Any:
            if not timeline.on:
                return original(clock, *args, **kwargs)
            if clock is not None:
                adopt(clock)
                return original(clock, *args, **kwargs)
            ours = TrioClock(timeline, Line(timeline, 0.0))
            runner = original(ours, *args, **kwargs)
            take(runner, ours)
            return runner

        return call

    def get_events(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(io: Any, timeout: float) -> Any:
            clock = runs.get(id(io)) if timeline.on else None
            return original(io, timeout) if clock is None else clock.events(original, io, timeout)

        return call

    def release() -> None:
        for clock in runs.values():
            clock.release()

    with ExitStack() as undo:
        for owner, name, make in ((run, "setup_runner", setup_runner), (io_manager, "get_events", get_events)):
            undo.enter_context(patched(owner, name, make))
        threads.resting.append(_worker_rests)
        undo.callback(threads.resting.remove, _worker_rests)
        undo.callback(release)
        if in_trio_run():
            _take_over(run.GLOBAL_RUN_CONTEXT.runner, timeline, take, adopt)
        yield


def _take_over(
    runner: Any, timeline: Timeline, take: Callable[[Any, TrioClock], None], adopt: Callable[[Any], object]
) -> None:
    """Put a run that goes on in this thread on the timeline, from its own time on."""
    if isinstance(runner.clock, (trio._core._run.SystemClock, TrioClock)):
        runner.clock = clock = TrioClock(timeline, Line.going_on(timeline, runner.clock.current_time()))
        take(runner, clock)
    else:
        adopt(runner.clock)


def _worker_rests(thread: threading.Thread, frame: FrameType) -> bool:
    """Tell whether *thread* is one of trio's workers and without a job: it waits for one with a time limit."""
    worker = getattr(getattr(thread, "_target", None), "__self__", None)
    cls: Any = trio._core._thread_cache.WorkerThread
    return isinstance(worker, cls) and worker._job is None and frame.f_code is cls._work.__code__


def _raise_standstill() -> NoReturn:
    raise RuntimeError("every task waits, none for anything that could come")


class TrioClock(trio.abc.Clock):
    """The clock of one run, and what the run asks before it waits. Goes on in real time after the test."""

    def __init__(self, timeline: Timeline, line: Line) -> None:
        self.idle = False
        self.deadline: int | None = None
        self.thread: int | None = None
        self.runner: Any = None
        self._timeline = timeline
        self._line = line
        self._spin = Spin(timeline)
        self._next = math.inf
        self._due_before: float | None = None
        self._ahead: float | None = None
        self._given_up = False
        self._real = perf_counter

    def start_clock(self) -> None:
        """Do nothing: the timeline has started."""

    def current_time(self) -> float:
        """Return the run's time, in seconds; to the run itself, after its wait, what is due in this turn."""
        if self._ahead is not None:
            return self._ahead + self._real()
        if self._due_before is not None and sys._getframe(1).f_code.co_name == "unrolled_run":
            due, self._due_before = self._due_before, None
            return due
        return self._line.time()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return how long to wait at most, in seconds: the end of the wait is decided in it."""
        if self._ahead is not None:
            return deadline - self.current_time()
        self._next = deadline
        return 0 if self._line.reach(deadline) else _LONG

    def running(self) -> bool:
        return bool(self.runner.tasks)

    def ready(self) -> bool:
        entries = self.runner.entry_queue
        return bool(
            self.runner.runq
            or entries.queue
            or entries.idempotent_queue
            or (self.runner.is_guest and self.runner.guest_tick_scheduled)
        )

    def here(self) -> bool:
        return getattr(trio._core._run.GLOBAL_RUN_CONTEXT, "runner", None) is self.runner

    def descriptors(self) -> Iterator[int]:
        own = self.runner.entry_queue.wakeup.wakeup_sock.fileno()
        for key in tuple(getattr(self.runner.io_manager, "_registered", ())):
            fd = key[0] if isinstance(key, tuple) else key
            if fd != own:
                yield fd

    def tasks(self) -> Iterator[Any]:
        yield from tuple(self.runner.tasks)

    def give_up(self, is_of_test: Callable[[Any], bool]) -> None:
        """Throw into the test's own task, as Ctrl-C would be; trio has no other way to end just this one."""
        runner, given_up = self.runner, self._given_up
        self._given_up = True

        def deliver() -> None:
            of_test = [task for task in runner.tasks if is_of_test(task.coro)]
            for task in of_test if of_test and not given_up else [runner.main_task]:
                if task._abort_func is not None:
                    task._attempt_abort(_raise_standstill)

        runner.entry_queue.run_sync_soon(deliver)

    def events(self, poll: Callable[..., Any], io: Any, timeout: float) -> Any:
        """Wait for events as trio's own I/O manager does, or for the timeline."""
        runner = self.runner
        if timeout <= 0:
            came = poll(io, 0)
            if runner.runq:
                hurried = runner.deadlines.next_deadline() < math.inf and self._spin.turned()
                # What is due after an advance() waits until everything that could run has run.
                self._due_next(runner.deadlines.next_deadline(), hold=not hurried)
            else:
                self._due_next(runner.deadlines.next_deadline(), hold=False)
            return came
        if runner.waiting_for_idle:
            # Somebody is in wait_all_tasks_blocked(): that comes first, as with trio's own MockClock.
            return poll(io, timeout)
        self._spin.rested()
        # As a guest this is another thread than the run's own: ask nothing that the run may be changing.
        self.deadline = self._line.point(self._next)
        came = self._timeline.wait(self, lambda limit: poll(io, timeout if limit is None else limit))
        self._due_next(self._next, hold=False)
        return came

    def _due_next(self, when: float, *, hold: bool) -> None:
        """Choose which deadlines the run will find expired in this turn: those of the first instant that has come."""
        if hold:
            self._due_before = _NEVER_DUE
        elif when < math.inf and self._line.reach(when):
            self._due_before = when

    def release(self) -> None:
        """Go on in real time from here."""
        self._due_before = None
        self._ahead = self._line.time() - self._real()
        self._timeline.leave(self)
        if self.runner.is_guest and self.runner.tasks:
            self.runner.force_guest_tick_asap()
