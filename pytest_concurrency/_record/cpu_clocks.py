"""What threads ask of the processors: read whenever a watched call begins or ends, for all that are in one."""

from __future__ import annotations

import os
import sys
import threading
from time import thread_time
from typing import TYPE_CHECKING

from .._frames import current_frames
from .._originals import get_ident
from .._places import outward, owner, place_of
from .._sequence import next_number
from .._trace import Clock
from .lock_lines import lock_taken_at

if TYPE_CHECKING:
    from .._trace import Place
    from .recorder import LiveSpan, Recorder

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


_FREE, _SHARE = 0.003, 0.05
"""What readings that nobody may want are to cost: seconds, and a share of the time that has been recorded."""


class CpuClocks:
    """Reads the clocks of the threads that are in a watched call."""

    def __init__(self, recorder: Recorder, most: int, *, sparing: bool = False) -> None:
        self._recorder = recorder
        self.most = most
        self.sparing = sparing
        """Nobody has asked for a verdict yet: calls of a microsecond are not to cost a hundred."""
        self._open: dict[int, tuple[int, int, int]] = {}
        # A reading takes some 100 microseconds: a million calls are not to be slowed by one each.
        self._left = most
        self._spent = 0.0
        # Of a thousand threads the first few would use up all readings; each can still say what it did itself.
        self._left_for_own = most

    def began(self, live: LiveSpan) -> None:
        """A call has begun in this thread."""
        if self._left_for_own <= 0 or (self.sparing and self._spent > _FREE + live.start * _SHARE):
            return
        if live.strand.strand.kind in ("thread", "worker"):
            began = thread_time()
            live.is_clocked = True
            self._enter(live.id, (live.strand.strand.id, get_ident(), threading.get_native_id()))
            self._spent += thread_time() - began

    def let_in(self, live: LiveSpan) -> None:
        """A call that was held is about to begin with its work."""
        if live.id in self._open:
            self._read([self._open[live.id]], begins=True)

    def ended(self, live: LiveSpan) -> None:
        """Its work is done."""
        if live.id in self._open:
            began = thread_time()
            own = self._open.pop(live.id)
            machine = self._read([own])
            self._read_all(machine)
            self._spent += thread_time() - began

    def _enter(self, number: int, own: tuple[int, int, int]) -> None:
        # What the readings take must not count as this call's own work: nobody reads its clocks before it has itself.
        machine = _of_machine()
        self._read_all(machine)
        self._read([own], machine, begins=True)
        self._open[number] = own

    def _read_all(self, machine: tuple[float | None, float | None]) -> None:
        """Read the clocks of all others that are in a call, in this process and elsewhere."""
        if self._left > 0:
            self._read(sorted(set(self._open.copy().values())), machine)
            self._read_others(machine)
        else:
            self._left_for_own -= 1

    def _read(
        self,
        threads: list[tuple[int, int, int]],
        machine: tuple[float | None, float | None] | None = None,
        *,
        begins: bool = False,
    ) -> tuple[float | None, float | None]:
        """Read the clocks of *threads*.

        Args:
            begins: This thread is about to begin with its work, and has not just ended it.
        """
        own, computed = get_ident(), thread_time()
        machine = machine or _of_machine()
        frames = current_frames() if any(ident != own for _, ident, _ in threads) else {}
        for strand, ident, native_id in threads:
            figures = _of_kernel(native_id)
            if figures is None and ident == own:
                figures = (computed, None, _own_switches(), True)
            if figures is not None:
                place = None if ident == own else _at_a_lock(frames.get(ident))
                cpu, queued, switches, awake = figures
                if ident == own:
                    # The reading lets go of the GIL, and among hundreds of threads takes longer than a call may.
                    cpu = thread_time() if begins else computed
                self._left -= 1
                self._recorder.add_clock(
                    Clock(strand, next_number(), self._recorder.now(), cpu, queued, switches, place, awake, *machine)
                )
        return machine

    def _read_others(self, machine: tuple[float | None, float | None]) -> None:
        """Read what threads of other processes have asked for, which cannot be asked to do it themselves."""
        journal, others = self._recorder.journal, self._recorder.others
        if others is None or journal is None:
            return
        for pid, strand, native_id in others.at_work():
            figures = _of_kernel(native_id, pid)
            if figures is not None:
                self._left -= 1
                cpu, queued, switches, awake = figures
                now = self._recorder.now()
                journal.seen(pid, Clock(strand, next_number(), now, cpu, queued, switches, None, awake, *machine))


def _of_kernel(native_id: int, pid: int | str = "self") -> tuple[float, float | None, int | None, bool] | None:
    folder = f"/proc/{pid}/task/{native_id}"
    try:
        with open(f"{folder}/schedstat", "rb") as file:
            cpu, queued = (int(part) / 1e9 for part in file.read().split()[:2])
        with open(f"{folder}/status", "rb") as file:
            told = file.read()
        # A thread that waits for the GIL goes to sleep of its own accord, again and again.
        switches = int(told.split(_SWITCHES, 1)[1].split(None, 1)[0])
        return cpu, queued, switches, _AWAKE in told
    except (OSError, ValueError, IndexError):
        return None


_SWITCHES, _AWAKE = b"\nvoluntary_ctxt_switches:", b"\nState:\tR"


def _of_machine() -> tuple[float | None, float | None]:
    """Return what the system has spent computing, and what its host has kept from it, in seconds of a processor.

    A virtual machine whose host gives its processors to others meanwhile sees no program asleep, and none run.
    """
    if sys.platform == "win32":
        return None, None
    try:
        with open("/proc/stat", "rb") as file:
            user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks


def _own_switches() -> int | None:
    if sys.platform == "win32":
        return None
    which = getattr(resource, "RUSAGE_THREAD", None)
    return resource.getrusage(which).ru_nvcsw if which is not None else None


def _at_a_lock(frame: object) -> Place | None:
    """Return the user's line at which a thread takes a lock, None where it does something else."""
    for each in outward(frame):  # type: ignore[arg-type]
        if owner(each.f_code.co_filename) == "user":
            return place_of(each) if lock_taken_at(each) is not None else None
    return None


def free_cores() -> int | None:
    """Return how many processors this process may use and nobody else did lately, at least 1; None where none tells."""
    if sys.platform == "win32":
        return None
    affinity = getattr(os, "sched_getaffinity", None)
    usable = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, usable - round(os.getloadavg()[0]))


def has_gil() -> bool:
    """Tell whether only one thread at a time runs Python code."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
