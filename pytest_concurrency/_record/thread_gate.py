"""Hold calls in threads, and see what could still move there.

A call waits in its own thread, never on an event loop's. Whichever of the held threads came first looks around: there
is no thread of ours.
"""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .._originals import RLock, allocate_lock, get_ident, is_patched
from .door import Held, WaitingRoom
from .thread_view import ThreadView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .door import Door, Doors, Line, Survey
    from .recorder import LiveSpan

_SHORTEST, _LONGEST = 0.0005, 0.01
_IN_LINE = 0.5


class ThreadGate:
    """The calls held in threads in one test."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._view = ThreadView(doors.recorder)
        # A look at the threads of a whole process is not one instant: only what stays so is believed.
        self.room = WaitingRoom(doors, self._survey, quiet_turns=3)
        self._lock = RLock()
        self._looking: int | None = None

    def is_here(self) -> bool:
        """Tell whether a call may be held in this thread: not where an event loop would stand still meanwhile."""
        if self._looking == get_ident():
            # A finalizer, in the middle of a look.
            return False
        # Where threads are greenlets, the real ones cannot be told from what Python says of them.
        return not is_patched("threading") and all(locate() is None for locate in self._doors.recorder.locators)

    def hold(self, door: Door, live: LiveSpan) -> None:
        """Return when the call may go; Ctrl-C ends the wait."""
        alarm = allocate_lock()
        alarm.acquire()
        held = Held(door, live, get_ident(), perf_counter(), _waker(alarm))
        self.room.held.append(held)
        delay = _SHORTEST
        try:
            while held in self.room.held:
                if self.room.held[0] is held:
                    self._look()
                if held in self.room.held:
                    delay = _SHORTEST if alarm.acquire(timeout=delay) else min(delay * 1.5, _LONGEST)
        finally:
            with self._lock:
                if held in self.room.held:
                    self.room.held.remove(held)
            # Somebody else is to look from now on.
            self.nudge()

    def line_up(self, line: Line, call: int) -> None:
        """Return when all calls in *line* are ready, as *call* is now, or do not come soon."""
        alarm = allocate_lock()
        alarm.acquire()
        line.ready(call, _waker(alarm))
        if line.coming:
            alarm.acquire(timeout=_IN_LINE)

    def nudge(self) -> None:
        for held in tuple(self.room.held):
            # Woken, but not let go: it finds that it is still in the room.
            held.go()

    def _look(self) -> None:
        with self._lock:
            self._looking = get_ident()
            try:
                self.room.look(perf_counter())
            finally:
                self._looking = None

    def _survey(self, held: Iterable[Held], horizon: float) -> Survey:
        return self._view.survey([each.key for each in held], perf_counter(), horizon)


def _waker(alarm: Any) -> Callable[[], None]:
    def wake() -> None:
        # It may have been woken already.
        with suppress(RuntimeError):
            alarm.release()

    return wake
