"""What the machine did to the test's thread: how long it queued for a processor, and what a hypervisor stole.

Read before and after the body, in one thread. On Linux; elsewhere the system does not say.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from time import perf_counter

from .._trace import Duration

_OWN = "/proc/thread-self/schedstat"
_MACHINE = "/proc/stat"


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks of one thread and of its machine at one instant, in seconds."""

    wall: float
    cpu: float | None
    queued: float | None
    busy: float
    stolen: float


def read() -> Reading:
    """Return what the clocks show now in this thread."""
    cpu = queued = None
    busy = stolen = 0.0
    if sys.platform == "win32":
        return Reading(perf_counter(), cpu, queued, busy, stolen)
    try:
        with open(_OWN, "rb") as file:
            cpu, queued = (int(part) / 1e9 for part in file.read().split()[:2])
        with open(_MACHINE, "rb") as file:
            # cpu user nice system idle iowait irq softirq steal: proc(5), in ticks.
            figures = [int(part) / os.sysconf("SC_CLK_TCK") for part in file.readline().split()[1:9]]
        busy, stolen = sum(figures) - figures[3] - figures[4], figures[7]
    except (OSError, ValueError, IndexError):
        pass
    return Reading(perf_counter(), cpu, queued, busy, stolen)


def between(before: Reading, after: Reading) -> Duration:
    """Return how long it was from one reading to the other, and what the machine did meanwhile."""
    wall = after.wall - before.wall
    if before.cpu is None or after.cpu is None or before.queued is None or after.queued is None:
        return Duration(wall)
    return Duration(
        wall,
        queued=min(after.queued - before.queued, wall),
        cpu=after.cpu - before.cpu,
        busy=after.busy - before.busy,
        stolen=after.stolen - before.stolen,
    )
