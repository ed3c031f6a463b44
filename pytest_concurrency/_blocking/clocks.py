"""What a thread did with its time, as the kernel counted it: computing, waiting for a processor, or blocked.

A threshold on wall time turns a clean test red on a busy machine. Time spent in the queue for a processor is the
machine's doing and is never held against anybody.
"""

from __future__ import annotations

import _thread
import itertools
import os
import sys
from time import perf_counter, process_time, thread_time
from typing import TYPE_CHECKING, NamedTuple

from .._descriptors import identity
from .._originals import thread_local

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


# Ours, from before any wrapper: what reads the clocks is not to be timed by them.
_open, _read, _close = os.open, os.read, os.close
_pread = getattr(os, "pread", None)


class Reading(NamedTuple):
    """The clocks of one thread at one instant, in seconds."""

    wall: float
    cpu: float
    """Spent computing, for the program or for the program in the kernel."""
    user: float
    """The part of it outside the kernel."""
    queued: float
    """Spent ready to run, while no processor was free."""
    process: float = 0.0
    """What all threads of the process spent computing."""
    sleeps: float = 0
    """How often the thread went to sleep of its own accord. A thread that never did was not blocked, whatever its
    clocks say: a virtual machine's host takes time away that the kernel counts nowhere."""


class Spent(NamedTuple):
    """What happened between two readings."""

    wall: float
    cpu: float
    user: float
    queued: float
    process: float = 0.0
    sleeps: float = 1
    """How often the thread went to sleep of its own accord; not 0 where nobody can say."""

    @property
    def others(self) -> float:
        """Seconds that other threads computed: with a GIL, this one could not meanwhile."""
        return max(0.0, self.process - self.cpu)

    @property
    def own(self) -> float:
        """Seconds that the thread is answerable for: all but the wait for a processor."""
        return self.cpu + self.blocked

    @property
    def blocked(self) -> float:
        """Seconds in which the thread neither computed nor wanted to."""
        return max(0.0, self.wall - self.cpu - self.queued) if self.sleeps else 0.0

    @property
    def waited(self) -> float:
        """Seconds blocked by something else than the GIL, as far as that can be told."""
        return max(0.0, self.blocked - self.others)

    @property
    def outside(self) -> float:
        """Seconds spent blocked or in the kernel: what input and output cost."""
        return max(0.0, self.cpu - self.user) + self.blocked


def between(earlier: Reading, later: Reading) -> Spent:
    """Return what happened from *earlier* to *later*, two readings of the same thread."""
    return Spent._make(b - a for a, b in zip(earlier, later, strict=True))


def _counts_sleeps() -> bool:
    """Tell whether the system counts how often a thread went to sleep: not all that have the field fill it in."""
    if sys.platform == "win32":
        return False
    if not resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw:
        pause = _thread.allocate_lock()
        pause.acquire()
        pause.acquire(timeout=0.001)
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw > 0


class ThreadClocks:
    """Reads the clocks of the thread that asks."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._local = thread_local()
        self._thread_usage = getattr(resource, "RUSAGE_THREAD", None)
        # Where the system does not count them, there may always have been one.
        self._unknown = itertools.count()
        if self._thread_usage is not None and not _counts_sleeps():
            self._thread_usage = None

    @property
    def knows_the_queue(self) -> bool:
        """Whether this system says how long a thread waited for a processor."""
        return self._queue_file() is not None

    def read(self) -> Reading:
        """Return the clocks of this thread now."""
        cpu = thread_time()
        if sys.platform == "win32" or self._thread_usage is None:
            return Reading(self._clock(), cpu, cpu, self._queued(), process_time(), next(self._unknown))
        usage = resource.getrusage(self._thread_usage)
        return Reading(self._clock(), cpu, usage.ru_utime, self._queued(), process_time(), usage.ru_nvcsw)

    def sleeps(self) -> int:
        """Return how often this thread went to sleep of its own accord, 0 where that is not known."""
        if sys.platform == "win32" or self._thread_usage is None:
            return 0
        return resource.getrusage(self._thread_usage).ru_nvcsw

    def recent(self, age: float) -> Reading:
        """Return the clocks of this thread, as they were at most *age* seconds ago."""
        known: Reading | None = getattr(self._local, "recent", None)
        if known is None or self._clock() - known.wall > age:
            known = self._local.recent = self.read()
        return known

    def read_of(self, native_id: int, between: Callable[[], object] = lambda: None) -> Reading | None:
        """Return the clocks of another thread now, None where the system does not show them.

        Args:
            between: Called each time that the GIL has been let go of for it, and is there again.
        """
        try:
            told = _contents(f"/proc/self/task/{native_id}/schedstat", between)
            cpu, queued = (int(part) / 1e9 for part in told.split()[:2])
            told = _contents(f"/proc/self/task/{native_id}/status", between)
            sleeps = int(told.partition(b"\nvoluntary_ctxt_switches:")[2].split(None, 1)[0])
        except (OSError, ValueError, IndexError):
            return None
        # It may be asleep at this moment, which has been counted already.
        return Reading(self._clock(), cpu, cpu, queued, process_time(), sleeps - 1)

    def _queued(self) -> float:
        file = self._queue_file()
        if file is None or _pread is None:
            return 0.0
        try:
            return int(_pread(file.number, 96, 0).split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def _queue_file(self) -> _QueueFile | None:
        # Per thread, and opened anew in a forked child, where the old one tells of the parent's thread.
        known = getattr(self._local, "file", None)
        if known is None or known[0] != os.getpid():
            known = self._local.file = (os.getpid(), _QueueFile.open())
        found: _QueueFile | None = known[1]
        return found


def _contents(path: str, between: Callable[[], object]) -> bytes:
    file = _open(path, os.O_RDONLY)
    try:
        between()
        told = _read(file, 8192)
        between()
    finally:
        _close(file)
    between()
    return told


class _QueueFile:
    """The kernel's scheduling figures of one thread, kept open as long as the thread lives."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._identity = identity(number)

    @classmethod
    def open(cls) -> _QueueFile | None:
        try:
            return cls(os.open("/proc/thread-self/schedstat", os.O_RDONLY))
        except OSError:
            return None

    def __del__(self) -> None:
        if identity(self.number) == self._identity:
            os.close(self.number)
