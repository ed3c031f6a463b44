"""Virtual time on asyncio's selector loops.

A loop gets three things for the length of a test: a clock of its own (`loop.time`), a place in front of its selector,
where it waits, and a clock resolution so fine that only timers of one instant fire together.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import math
import sys
import threading
import time
import weakref
from asyncio import events
from asyncio.base_events import BaseEventLoop
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from itertools import count
from typing import TYPE_CHECKING, Any

from .._frames import frame_of, locals_of
from .._patching import patched
from .timeline import Line, Spin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .timeline import Timeline

_monotonic = time.monotonic
_FINEST = 1e-9
"""Timers closer than this, in seconds, are of one instant: sums of floats differ by less."""

_NEVER_DUE = -1e9
"""A time at which no timer is due. Not minus infinity: from that a loop cannot count on."""

_FEW = 16
"""So many timers of one instant are taken one by one before the rest are taken all at once."""


@contextmanager
def install(timeline: Timeline, origin: float) -> Iterator[None]:
    """Put every asyncio loop on the *timeline* that runs, or is made, in the `with` block.

    The clock of a loop that is made in it showed *origin*, in seconds, at the timeline's start; one that was there
    before goes on from its own time.

    Raises:
        RuntimeError: A loop runs here that cannot be put on it.
    """
    loops = _Loops(timeline, origin)
    running = asyncio._get_running_loop()
    if running is not None:
        loops.check(running)
    with ExitStack() as undo:
        undo.callback(loops.release)
        for name, make in (
            ("__init__", loops.make),
            ("_run_once", loops.turn),
            ("time", loops.clock),
            ("call_later", loops.later),
        ):
            undo.enter_context(patched(BaseEventLoop, name, make))
        undo.enter_context(patched(events, "TimerHandle", lambda original: _Numbered))
        yield


def refuse(timeline: Timeline, undo: ExitStack, cls: type) -> None:
    """Let no loop of *cls*, which cannot be put on virtual time, run until *undo* closes."""
    refused = weakref.WeakSet[Any]()

    def run(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(loop: Any, *args: Any) -> Any:
            # Once for each loop: what follows is its runner, tidying up.
            if timeline.on and loop not in refused:
                refused.add(loop)
                _drop(loop, original, *args)
                raise RuntimeError(_cannot(loop))
            return original(loop, *args)

        return call

    for name in ("run_until_complete", "run_forever"):
        undo.enter_context(patched(cls, name, run))


def _drop(loop: Any, run: Callable[..., Any], awaitable: Any = None) -> None:
    """Throw away what was to be run, so that it is neither left pending nor never awaited."""
    outer: Any = awaitable.get_coro() if isinstance(awaitable, asyncio.Task) else awaitable
    if inspect.iscoroutine(outer) and inspect.getcoroutinestate(outer) == inspect.CORO_CREATED:
        frame: Any = frame_of(outer)
        # `uvloop.run(main())` wraps the user's coroutine in one of its own.
        for value in list(locals_of(frame).values()):
            if inspect.iscoroutine(value):
                value.close()
    if asyncio.iscoroutine(awaitable):
        awaitable.close()
    elif asyncio.isfuture(awaitable) and awaitable.cancel():
        with suppress(asyncio.CancelledError):
            run(loop, awaitable)


def _cannot(loop: Any) -> str:
    library = str(type(loop).__module__).partition(".")[0]
    return (
        f"virtual time needs an asyncio loop with a Python selector, and this test runs on {library}'s "
        f"{type(loop).__qualname__}: its timers are out of reach. Run this test on asyncio's own loop "
        "(asyncio.SelectorEventLoop; for anyio: no use_uvloop), or on trio, or take virtual_clock off."
    )


class _Numbered(events.TimerHandle):
    """A timer that knows which were set before it: a heap alone does not keep the order of equal times."""

    __slots__ = ("_number",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._number = next(_numbers)
        # In debug mode the loop takes off its own frame, and not this one.
        if traceback := getattr(self, "_source_traceback", None):
            del traceback[-1]


_numbers = count()
_Numbered.__name__ = _Numbered.__qualname__ = events.TimerHandle.__name__


class _Loops:
    """The loops of one test."""

    def __init__(self, timeline: Timeline, origin: float) -> None:
        self._timeline = timeline
        self._origin = origin
        self._clocks: weakref.WeakKeyDictionary[BaseEventLoop, LoopClock] = weakref.WeakKeyDictionary()
        self._asked = threading.local()

    def check(self, loop: Any) -> None:
        if not isinstance(loop, BaseEventLoop) or not hasattr(getattr(loop, "_selector", None), "get_map"):
            raise RuntimeError(_cannot(loop))

    def make(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def init(loop: BaseEventLoop, *args: Any, **kwargs: Any) -> None:
            original(loop, *args, **kwargs)
            if self._timeline.on:
                line = Line(self._timeline, self._origin)
                self._clocks[loop] = LoopClock(loop, self._timeline, line, real_before=False)

        return init

    def turn(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def run_once(loop: BaseEventLoop) -> Any:
            if self._timeline.on:
                clock = self._of(loop)
                if not clock.checked:
                    self.check(loop)
                    clock.checked = True
                clock.step_in()
            return original(loop)

        return run_once

    def clock(self, original: Callable[..., float]) -> Callable[..., float]:
        @wraps(original)
        def now(loop: BaseEventLoop) -> float:
            if not self._timeline.on:
                return original(loop)
            if getattr(self._asked, "for_its_own_time", False):
                self._asked.answer = original(loop)
                return float(self._asked.answer)
            is_new = loop not in self._clocks
            clock = self._of(loop)
            if type(loop).time is BaseEventLoop.time:
                return clock.time()
            # A class with a clock of its own asks `super()`, and adds to the answer; from now on it is asked no more.
            return float(self._asked.answer) if is_new else original(loop)

        return now

    def later(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call_later(loop: BaseEventLoop, delay: Any, callback: Any, *args: Any, context: Any = None) -> Any:
            if not self._timeline.on or not isinstance(delay, (int, float)):
                return original(loop, delay, callback, *args, context=context)
            # As the original does, but for the rounding.
            timer: Any = loop.call_at(self._of(loop).after(delay), callback, *args, context=context)
            if timer._source_traceback:
                del timer._source_traceback[-1]
            return timer

        return call_later

    def _of(self, loop: BaseEventLoop) -> LoopClock:
        clock = self._clocks.get(loop)
        if clock is None:
            line = Line.going_on(self._timeline, self._own_time(loop))
            clock = self._clocks[loop] = LoopClock(loop, self._timeline, line, real_before="time" not in vars(loop))
        return clock

    def _own_time(self, loop: BaseEventLoop) -> float:
        """Return what the loop's clock shows without us; a class of its own may ask `super()` for it."""
        self._asked.for_its_own_time, self._asked.answer = True, 0.0
        try:
            return loop.time()
        finally:
            self._asked.for_its_own_time = False

    def release(self) -> None:
        for loop, clock in list(self._clocks.items()):
            clock.release(loop)


def _is_outermost(task: Any) -> bool:
    """Tell whether `run_until_complete` waits for *task*."""
    callbacks = getattr(task, "_callbacks", None) or ()
    return any(getattr(each[0], "__name__", "") == "_run_until_complete_cb" for each in callbacks)


def _make_ready(loop: Any, limit: float) -> None:
    """Put the timers before *limit* among what is ready in the order in which they were set, if there are several."""
    heap = loop._scheduled
    if not any(timer._when < limit for timer in heap[1:3]):
        # The loop takes the only one itself.
        return
    due: list[Any] = []
    while heap and heap[0]._when < limit and len(due) < _FEW:
        due.append(heapq.heappop(heap))
    if heap and heap[0]._when < limit:
        # Faster than one by one, where most of them are due.
        due += [timer for timer in heap if timer._when < limit]
        heap[:] = [timer for timer in heap if timer._when >= limit]
        heapq.heapify(heap)
    due.sort(key=_number)
    for timer in due:
        timer._scheduled = False
    loop._ready.extend(due)


def _number(timer: Any) -> int:
    return getattr(timer, "_number", -1)


class LoopClock:
    """One loop on the timeline: its clock, and what its selector asks before it waits."""

    def __init__(self, loop: BaseEventLoop, timeline: Timeline, line: Line, *, real_before: bool) -> None:
        self.idle = False
        self.deadline: int | None = None
        self.thread: int | None = None
        self.checked = False
        self._given_up = False
        # A loop that nobody has any more is to go as soon as it would without us, with its warnings.
        self._ref = weakref.ref(loop)
        self._timeline = timeline
        self._line = line
        self._spin = Spin(timeline)
        self._real_before = real_before
        self._due_before: float | None = None
        self._resolution = self._loop._clock_resolution
        loop.time = self.time  # type: ignore[method-assign]  # taken off, or replaced, in release()
        timeline.join(self)

    def time(self) -> float:
        """Return the loop's time, in seconds; to the loop itself, after its selector, what is due in this turn."""
        if self._due_before is not None and sys._getframe(1).f_code.co_name == "_run_once":
            due, self._due_before = self._due_before, None
            return due
        return self._line.time()

    def after(self, delay: float) -> float:
        """Return what the loop's clock will show in *delay* seconds, without the errors of adding floats."""
        return self._line.rounded(self._line.time() + delay)

    @property
    def _loop(self) -> Any:
        return self._ref()

    def running(self) -> bool:
        loop = self._loop
        return loop is not None and loop.is_running()

    def here(self) -> bool:
        return bool(self._loop._thread_id == threading.get_ident())

    def ready(self) -> bool:
        return bool(self._loop._ready or self._loop._stopping)

    def descriptors(self) -> Iterator[int]:
        own = self._loop._ssock.fileno() if self._loop._ssock is not None else -1
        yield from (key.fd for key in tuple((self._loop._selector.get_map() or {}).values()) if key.fd != own)

    def tasks(self) -> Iterator[Any]:
        yield from asyncio.all_tasks(self._loop)

    def give_up(self, is_of_test: Callable[[Any], bool]) -> None:
        """Cancel the test's own task, as a time-out would; raise where it has been cancelled and goes on to wait.

        Raises:
            RuntimeError: The tasks wait although they have been cancelled.
        """
        if self._given_up:
            raise RuntimeError("every task waits, none for anything that could come, and cancelling has not helped")
        self._given_up = True
        tasks = [task for task in self.tasks() if not task.done()]
        of_test = [task for task in tasks if is_of_test(task.get_coro())]
        for task in of_test or [task for task in tasks if _is_outermost(task)]:
            task.cancel()

    def step_in(self) -> None:
        """Stand in front of the loop's selector until it is asked, when nobody else can put himself there too."""
        selector = self._loop._selector
        plain, there = selector.select, vars(selector).get("select")

        def select(timeout: float | None = None) -> Any:
            if vars(selector).get("select") is not select:
                pass
            elif there is None:
                del selector.select
            else:
                selector.select = there
            return self._select(plain, timeout)

        selector.select = select

    def _select(self, plain: Callable[[float | None], Any], timeout: float | None) -> Any:
        if self.ready() or (timeout is not None and timeout <= 0):
            came = plain(timeout)
            hurried = self.ready() and bool(self._loop._scheduled) and self._spin.turned()
            # What is due after an advance() waits until everything that could run has run.
            self._due_next(hold=self.ready() and not hurried)
            return came
        self._spin.rested()
        when = self._next()
        self.deadline = None if when is None else self._line.point(when)
        came = self._timeline.wait(self, plain)
        self._due_next(hold=False)
        return came

    def _next(self) -> float | None:
        # The loop has just taken cancelled timers from the head.
        scheduled = self._loop._scheduled
        return scheduled[0]._when if scheduled else None

    def _due_next(self, *, hold: bool) -> None:
        """Choose which timers the loop will find due in this turn: those of the first instant that has come."""
        when = self._next()
        if when is None:
            return
        if hold:
            self._due_before = _NEVER_DUE
        elif self._line.reach(when):
            # The loop takes timers before `time() + resolution`; so fine a step must not vanish in a large float.
            self._loop._clock_resolution = finest = max(_FINEST, math.ulp(when))
            self._due_before = when
            _make_ready(self._loop, when + finest)

    def release(self, loop: Any) -> None:
        """Give the loop its own clock back; one that virtual time has carried ahead never falls behind it."""
        shown = self.time()
        self._timeline.leave(self)
        loop._clock_resolution = self._resolution
        if vars(loop).get("time") != self.time:
            return
        del loop.time
        if loop.is_closed():
            return
        ahead = shown - loop.time()
        if ahead > 0 or not self._real_before:
            # The class may have a clock of its own, which goes on.
            ref, plain = weakref.ref(loop), type(loop).time
            loop.time = lambda: ahead + plain(ref())
