"""Virtual time, and when it may move. Knows no event loop, no thread and no descriptor by name.

Everything that waits for virtual time is a `Waiter`: an asyncio loop, a trio run, a thread in a patched `time.sleep`.
Time jumps to the earliest thing anybody waits for as soon as nothing else in the program can move. While real work is
under way (a thread, a child process, a socket with somebody else at its other end) time stands still, and when that
lasts it runs on at the pace of real time, so that a time-out on a silent peer still comes and nothing waits for ever.
"""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from . import descriptors, threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 1.0
"""How long time stands still for real work from which nothing comes in, in real seconds."""

PATIENCE_IN_ALL = 10.0
"""How long time stands still for real work that never ends but sends something now and then, in real seconds."""

_SHORTEST_LOOK, _LONGEST_LOOK, _LONGEST_WATCH = 0.0002, 0.01, 0.1
_NANOSECONDS = 1_000_000_000


class Waiter(Protocol):
    """Something that waits for virtual time, in one thread at a time."""

    idle: bool
    """It waits, in `Timeline.wait`."""
    deadline: int | None
    """When its next timer is due, in nanoseconds of the timeline; None while it has none."""
    thread: int | None
    """The native id of the thread that runs it or waits for it."""

    def running(self) -> bool:
        """Tell whether it takes part at all: a loop that is not running neither moves nor waits."""

    def ready(self) -> bool:
        """Tell whether it has something to do at this very moment."""

    def here(self) -> bool:
        """Tell whether it runs in the calling thread."""

    def descriptors(self) -> Iterator[int]:
        """Yield the descriptors that could wake it, its own wake-up calls left out."""

    def tasks(self) -> Iterator[Any]:
        """Yield the tasks that it runs."""

    def give_up(self, is_of_test: Callable[[Any], bool]) -> None:
        """Let the task that the test runs in end, from the thread that waits; nothing else would ever end it."""


class _Lock:
    """A reentrant lock. A thread that waits for it is seen to be at work, which it will be in a moment."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        # With a time limit: a wait without one is how a thread at rest looks to `threads`.
        while not self._lock.acquire(timeout=3600):
            pass

    def __exit__(self, *exc: object) -> None:
        self._lock.release()


class Timeline:
    """One virtual time, shared by all who wait for it. Starts at 0."""

    def __init__(self, real: Callable[[], float] = perf_counter) -> None:
        self.now = 0
        self.on = False
        self.thread = threading.get_native_id()
        """Where the test's body runs."""
        self.at_standstill: Callable[[list[Any]], object] = lambda tasks: None
        """Is told once nobody can ever go on, of all tasks."""
        self.is_of_test: Callable[[Any], bool] = lambda coroutine: False
        """Tells whether a coroutine is that of the test's own body."""
        self.strangers: frozenset[int] = frozenset()
        """Threads that were at work for somebody else when time became virtual."""
        self._real = real
        self._lock = _Lock()
        self._waiters: list[Waiter] = []
        self._still_since: float | None = None
        self._heard_at = 0.0
        self._ran_to = 0.0
        self._rested: dict[int | None, str] = {}

    def join(self, waiter: Waiter) -> None:
        """Count *waiter* among those who wait for this time."""
        with self._lock:
            self._waiters.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Forget *waiter*."""
        with self._lock, contextlib.suppress(ValueError):
            self._waiters.remove(waiter)

    def move(self, nanoseconds: int) -> None:
        """Move time forward, without a look at what is due on the way."""
        with self._lock:
            self.now += nanoseconds

    def runs_here(self) -> bool:
        """Tell whether the calling thread is that of a loop on this timeline."""
        with self._lock:
            return any(each.running() and each.here() for each in self._waiters)

    def wait(self, waiter: Waiter, poll: Callable[[float | None], Any]) -> Any:
        """Wait until something comes in, or until time has come to the waiter's deadline.

        *poll* waits for at most that many real seconds, None for as long as it takes, and returns what came in.
        Returns the same, and what is false where time came first.
        """
        waiter.thread = threading.get_native_id()
        waiter.idle = True
        try:
            if waiter.deadline is None:
                return self._wait_for_the_world(waiter, poll)
            return self._wait(waiter, waiter.deadline, poll)
        finally:
            waiter.idle = False
            waiter.deadline = None

    def _wait_for_the_world(self, waiter: Waiter, poll: Callable[[float | None], Any]) -> Any:
        """Wait as a loop without a timer does, unless the world has nothing left that could come in."""
        look = _SHORTEST_LOOK
        came = poll(0)
        quiet = 0
        while not came and not waiter.ready():
            if not self.on:
                return poll(None)
            with self._lock:
                quiet = quiet + 1 if self._stands_still() and self._is_the_tests(waiter) else 0
            # Twice, and then what those who have since come to rest may have done: it shows up here, if anywhere.
            if quiet > 1 and not (came := poll(0)) and self._all_wait():
                self.at_standstill([task for each in self._waiters if each.running() for task in each.tasks()])
                waiter.give_up(self.is_of_test)
                return came
            came = came or poll(look)
            look = min(2 * look, _LONGEST_WATCH)
        return came

    def _stands_still(self) -> bool:
        """Tell whether everybody waits, and nothing is left in the process or around it that could end a wait.

        Never where the kernel does not tell of threads: there may be some that Python knows nothing of.
        """
        if not self._all_wait():
            return False
        running = [each for each in self._waiters if each.running()]
        asleep = {each.thread for each in running}
        return threads.KERNEL_TELLS and not (
            threads.at_work((), asleep, for_ever=True)
            or descriptors.awaited([fd for each in running for fd in each.descriptors()])
            or descriptors.has_children()
            or signals_awaited()
        )

    def _all_wait(self) -> bool:
        running = (each for each in self._waiters if each.running())
        return all(each.idle and each.deadline is None and not each.ready() for each in running)

    def _is_the_tests(self, waiter: Waiter) -> bool:
        """Tell whether *waiter* runs in the test's own thread, or nobody does who could be asked instead."""
        in_thread = [each for each in self._waiters if each.running() and each.thread == self.thread]
        return not in_thread or waiter in in_thread

    def _wait(self, waiter: Waiter, deadline: int, poll: Callable[[float | None], Any]) -> Any:
        look = _SHORTEST_LOOK
        with self._lock:
            # The time since the last wait was work, which costs nothing.
            self._ran_to = self._real()
        while True:
            with self._lock:
                if not self.on or self.now >= deadline:
                    return poll(0)
                if not self._held(waiter, deadline):
                    # The last look: what was done by those who have since come to rest shows up here, if anywhere.
                    came = poll(0)
                    if not came and not waiter.ready():
                        self.now = deadline
                        self._still_since = None
                    return came
            if came := poll(look):
                self._heard_at = self._real()
                return came
            look = min(2 * look, _LONGEST_LOOK)
            with self._lock:
                self._run_on(deadline)

    def _held(self, waiter: Waiter, deadline: int) -> str | None:
        """Return what keeps time from moving to *deadline*, in words; None when nothing does."""
        running = [each for each in self._waiters if each.running()]
        for other in running:
            if other is not waiter:
                if not other.idle or other.ready():
                    return "another event loop is at work"
                if other.deadline is not None and other.deadline < deadline:
                    return "another event loop has an earlier timer"
        watched = [fd for each in running for fd in each.descriptors()]
        asleep = {each.thread for each in running}
        # Threads first: one that is at rest now may have written to a socket a moment ago.
        return threads.at_work(self.strangers, asleep, rested=self._rested) or descriptors.awaited(watched)

    def _run_on(self, limit: int) -> None:
        """Let real time pass on the timeline, once patience with real work has run out."""
        now = self._real()
        if self._still_since is None:
            self._still_since = self._heard_at = self._ran_to = now
        start = max(self._ran_to, min(self._heard_at + PATIENCE, self._still_since + PATIENCE_IN_ALL))
        if now > start:
            due = (each.deadline for each in self._waiters if each.deadline is not None)
            nearest = min((each for each in due if each > self.now), default=limit)
            self.now = max(self.now, min(self.now + round((now - start) * _NANOSECONDS), nearest))
        self._ran_to = now


def signals_awaited() -> bool:
    """Tell whether a signal may bring something: somebody in the program has a handler for one."""
    # Those of Ctrl-C, which every runner sets, and of a test's time limit bring no test further.
    for number in signal.valid_signals() - {signal.SIGINT}:
        handler = signal.getsignal(number)
        module = str(getattr(handler, "__module__", "")).partition(".")[0]
        if callable(handler) and module not in {"signal", "pytest_timeout"}:
            return True
    return False


class Spin:
    """Lets real time pass for a loop that never comes to rest, as one that polls with `sleep(0)` for a timer."""

    def __init__(self, timeline: Timeline, real: Callable[[], float] = perf_counter) -> None:
        self._timeline = timeline
        self._real = real
        self._since: float | None = None
        self._ran_to = 0.0

    def rested(self) -> None:
        """Note that the loop waited."""
        self._since = None

    def turned(self) -> bool:
        """Note that the loop goes on with work and tell whether its time runs at the pace of real time now."""
        now = self._real()
        if self._since is None:
            self._since = self._ran_to = now
        start = max(self._ran_to, self._since + PATIENCE)
        self._ran_to = now
        if now <= start:
            return False
        self._timeline.move(round((now - start) * _NANOSECONDS))
        return True


class Line:
    """The timeline as one loop's own clock: floats, with an origin of its own."""

    def __init__(self, timeline: Timeline, base: float) -> None:
        """Show *base* plus the seconds that have passed on *timeline*."""
        self._timeline = timeline
        self._base = base
        # Where the loop's own floats are too coarse for nanoseconds (a machine that has been up for a month), round.
        self._grain = 1 if base < 2**21 else 1000
        self._shown = -math.inf
        self._shown_at: int | None = None

    @classmethod
    def going_on(cls, timeline: Timeline, time: float) -> Line:
        """Return a line that shows *time* now or up to a millisecond more, so that whole seconds stay exact floats."""
        return cls(timeline, math.ceil((time - timeline.now / _NANOSECONDS) * 1024) / 1024)

    def time(self) -> float:
        """Return the time on the loop's clock, in seconds."""
        now = self._timeline.now
        if self._shown_at != now:
            self._shown_at, self._shown = now, max(self._shown, self._base + now / _NANOSECONDS)
        return self._shown

    def point(self, when: float) -> int | None:
        """Return the point of the timeline, in nanoseconds, at which the loop's clock shows *when*."""
        if not when < math.inf:
            return None
        return round((when - self._base) * _NANOSECONDS / self._grain) * self._grain

    def rounded(self, when: float) -> float:
        """Return *when* to the nanosecond: ten times 0.1 s after 0.0 is 1.0, which adding up floats misses."""
        point = self.point(when)
        return when if point is None else self._base + point / _NANOSECONDS

    def reach(self, when: float) -> bool:
        """Show *when* if the timeline is there, and tell whether it is."""
        point = self.point(when)
        if point is None or self._timeline.now < point:
            return False
        if point == self._timeline.now and self.time() < when:
            # Whoever set a timer for *when* is not to be told that it is a little earlier.
            self._shown = when
        return True
