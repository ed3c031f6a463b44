"""The threads on which loops run, and since when each has been in its present turn."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .._originals import get_ident
from .._settings import KINDS
from .clocks import between

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clocks import Reading, Spent, ThreadClocks
    from .overdue import Sample

LATE = 0.010
"""Seconds after which a turn gets a closer look."""
EVERY_KIND = frozenset(KINDS)
STALE = 0.001
"""Seconds that a reading of the kernel's clocks may be older than the turn it stands for: read once for many turns."""
# Neither macOS nor Windows tells one thread what another has computed.
_clock_of = getattr(time, "pthread_getcpuclockid", None)


class Lane:
    """One thread while a loop runs on it. Written by that thread, read by the sampler."""

    __slots__ = (
        *("_clocks", "_cpu_clock", "_on_late", "backend", "began", "closed", "collected", "collecting", "ending"),
        *("in_thread", "known", "known_open", "last", "looked_at", "loop", "marked", "missed", "native", "paused"),
        *("reading", "running", "samples", "seen_cpu", "stale_at", "thread", "wake"),
    )

    def __init__(self, backend: str, loop: Any, clocks: ThreadClocks, on_late: Callable[..., None]) -> None:
        self.backend = backend
        self.loop = loop
        self.thread = get_ident()
        self.native = threading.get_native_id()
        self._cpu_clock = _clock_of(self.thread) if _clock_of is not None else None
        self.seen_cpu = self.cpu()
        """What the thread had computed when the sampler last looked at a loop that does not tell of its turns."""
        self.began = 0.0
        """When the present turn began; 0 while the loop waits for something to do."""
        self.ending = False
        """The turn is being ended: nobody may begin another meanwhile."""
        self.reading: Reading = clocks.recent(STALE)
        self.stale_at = self.reading.wall + STALE
        """When `reading` is too old to stand for the beginning of a turn."""
        self.samples: list[Sample] = []
        self.marked = False
        """Something happened in this turn: it is to be ended with `end`, and not by setting `began` to 0 alone."""
        self.looked_at = 0.0
        """The beginning of the turn that the sampler is looking at just now."""
        self.missed: tuple[float, Spent, float, frozenset[str]] | None = None
        """The turn that ended while it did, when it began and what is known of it."""
        self.known = 0.0
        """Seconds of this turn that named calls account for."""
        self.known_open: frozenset[str] = frozenset()
        """The kinds of calls that were made in this turn and whose length nobody knows: such waits are theirs."""
        self.in_thread: Callable[[], bool] | None = None
        """Of a hub: tells whether its thread does something outside any greenlet now, which is no part of a turn."""
        self.running: Callable[[Any], Any] | None = None
        """Of a hub: returns a weak reference to the greenlet that runs now, given the last answer."""
        self.last: Any = None
        self.closed: Reading | None = None
        """Of a hub: the clocks when its thread was seen outside any greenlet, which ends the turn."""
        self.wake: Callable[[], None] | None = None
        """Starts the sampler again, where a fork has ended it."""
        self.paused = 0
        """Of a hub: how many looks have found the thread outside any greenlet, in the middle of a turn."""
        self.collecting = 0.0
        """What the thread had computed when the garbage collection began that it is in; 0 where it is in none."""
        self.collected = 0.0
        """Seconds of this turn that the interpreter spent on collections of its own."""
        self._clocks = clocks
        self._on_late = on_late

    def cpu(self) -> float:
        """Return what the thread has computed so far, asked by whichever thread, without letting go of the GIL.

        0 where the system does not tell.
        """
        if sys.platform == "win32" or self._cpu_clock is None:
            return 0.0
        return time.clock_gettime(self._cpu_clock)

    def refresh(self) -> None:
        """Read the kernel's clocks: the reading that stands for the turn's beginning is too old."""
        self.reading = self._clocks.recent(STALE)
        self.stale_at = self.reading.wall + STALE
        if self.wake is not None:
            self.wake()

    def add(self, sample: Sample) -> None:
        """Put down what the sampler saw."""
        self.samples.append(sample)
        self.marked = True

    def end(self, now: float) -> None:
        """The loop has done what it had to do, and something happened meanwhile."""
        self.ending = True
        try:
            self._end(now)
        finally:
            self.ending = False

    def _end(self, now: float) -> None:
        began, self.began = self.began, 0.0
        self.marked = False
        samples, self.samples = self.samples, []
        closed, self.closed = self.closed, None
        known, known_open = self.known, self.known_open
        self.known, self.known_open = 0.0, frozenset()
        collected, self.collected = self.collected, 0.0
        if began and now - began >= LATE and (samples or self.looked_at == began):
            spent = between(self.reading, closed or self._clocks.read())
            if collected:
                spent = spent._replace(wall=spent.wall - collected, cpu=spent.cpu - collected)
            if samples:
                self._on_late(self, spent, samples, known, known_open)
            else:
                self.missed = began, spent, known, known_open

    def look(self, began: float) -> None:
        """The sampler begins to look at the turn that began at *began*: wait for what it sees."""
        self.missed = None
        self.looked_at = began
        self.marked = True

    def seen_late(self, began: float, sample: Sample) -> None:
        """That turn ended before the sampler was done; here is what it saw."""
        missed, self.missed = self.missed, None
        if missed is not None and missed[0] == began:
            self._on_late(self, missed[1], [sample], missed[2], missed[3])

    def account(self, kind: str, seconds: float | None) -> None:
        """A named call was made in this turn and has been reported."""
        self.marked = True
        if seconds is None:
            self.known_open = EVERY_KIND
        else:
            self.known += seconds
            if kind == "sleep":
                # It says how long it means to sleep; a busy machine lets it sleep longer.
                self.known_open |= {kind}
