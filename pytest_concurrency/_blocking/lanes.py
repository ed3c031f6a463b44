"""The threads on which loops run, and since when each has been in its present turn."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .clocks import between

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clocks import Reading, Spent, ThreadClocks
    from .overdue import Sample

LATE = 0.010
"""Seconds after which a turn gets a closer look."""
STALE = 0.001
"""Seconds that a reading of the kernel's clocks may be older than the turn it stands for: read once for many turns."""


class Lane:
    """One thread while a loop runs on it. Written by that thread, read by the sampler."""

    __slots__ = (
        *(
            "_clocks",
            "_cpu_clock",
            "_on_late",
            "backend",
            "began",
            "known",
            "known_open",
            "looked_at",
            "marked",
            "missed",
        ),
        *("loop", "native", "reading", "samples", "seen_cpu", "thread"),
    )

    def __init__(self, backend: str, loop: Any, clocks: ThreadClocks, on_late: Callable[..., None]) -> None:
        self.backend = backend
        self.loop = loop
        self.thread = threading.get_ident()
        self.native = threading.get_native_id()
        self._cpu_clock = time.pthread_getcpuclockid(self.thread) if sys.platform != "win32" else None
        self.seen_cpu = self.cpu()
        """What the thread had computed when the sampler last looked at a loop that does not tell of its turns."""
        self.began = 0.0
        """When the present turn began; 0 while the loop waits for something to do."""
        self.reading: Reading = clocks.read()
        self.samples: list[Sample] = []
        self.marked = False
        """Something happened in this turn: it is to be ended with `end`, and not by setting `began` to 0 alone."""
        self.looked_at = 0.0
        """The beginning of the turn that the sampler is looking at just now."""
        self.missed: tuple[float, Spent, float, bool] | None = None
        """The turn that ended while it did, when it began and what is known of it."""
        self.known = 0.0
        """Seconds of this turn that named calls account for."""
        self.known_open = False
        self._clocks = clocks
        self._on_late = on_late

    def cpu(self) -> float:
        """Return what the thread has computed so far, asked by whichever thread, without letting go of the GIL."""
        return time.clock_gettime(self._cpu_clock) if sys.platform != "win32" and self._cpu_clock is not None else 0.0

    def refresh(self) -> None:
        """Read the kernel's clocks: the reading that stands for the turn's beginning is too old."""
        self.reading = self._clocks.read()

    def add(self, sample: Sample) -> None:
        """Put down what the sampler saw."""
        self.samples.append(sample)
        self.marked = True

    def end(self, now: float) -> None:
        """The loop has done what it had to do, and something happened meanwhile."""
        began, self.began = self.began, 0.0
        self.marked = False
        samples, self.samples = self.samples, []
        known, known_open = self.known, self.known_open
        self.known, self.known_open = 0.0, False
        if began and now - began >= LATE and (samples or self.looked_at == began):
            spent = between(self.reading, self._clocks.read())
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

    def account(self, seconds: float | None) -> None:
        """A named call was made in this turn and has been reported."""
        self.marked = True
        if seconds is None:
            self.known_open = True
        else:
            self.known += seconds
