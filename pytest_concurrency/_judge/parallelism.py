"""Did calls really execute at the same time? Pure functions: a trace in, a verdict out.

A call that could run asks for a processor: it computes, or it waits for one. One that waits for the GIL or for a lock
sleeps. So what the threads ask for tells "could run at once" from "took turns", however busy the machine is.

The figures are measured (`benchmarks/parallel_demand.py`, 2 processors, alone, beside six endless loops, and beside 28
other busy programs). Work in threads that releases the GIL asked for 1.22-2.01 processors in two threads and 2.39-3.96
in four; with one lock, or asleep, for less than 1.2 while they overlapped. Python code under the GIL asked for up to
1.93 and 3.2, since each thread wakes every 5 ms to ask for the GIL and then waits for a processor. That waking gives it
away: 302 to 2281 waits for a second of computing, where work without the GIL had at most 121, and at least 0.33 of its
time, without the queue, asleep.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from .overlap import calls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .._trace import Clock, Place, Span, Trace
    from .overlap import Status

Why = Literal["", "never called", "one call", "too few", "waited", "gil", "lock", "turns", "no figures"]
Interval = tuple[float, float]

# More than half of what they would ask for if none ever slept. Two that take turns ask for one between them, and a
# little more where they hand over. Beside other processes, two that need the GIL now and then were seen to ask for
# 1.22: whoever has it may have to wait for a processor, and the other sleeps meanwhile.
SHARE, HAND_OVER = 0.5, 0.2
GIL_HOLDER = 0.8
# Only whoever has the GIL computes, and the others for a moment, each time that they ask for it.
GIL_MOST = 1.1
GIL_WAITS = 190.0
GIL_SLEEP = 0.25
# Whoever takes turns asks for one processor between them; below this much of one, most of the time nobody did.
IDLE = 0.6


@dataclass(frozen=True, slots=True)
class Parallel:
    """What is expected of some calls."""

    targets: tuple[str, ...]
    at_least: int = 2

    @property
    def wanted(self) -> int:
        """How many must have run at once: one of each where several targets are named."""
        return max(self.at_least, len(self.targets)) if len(self.targets) > 1 else self.at_least


@dataclass(frozen=True, slots=True)
class Load:
    """What one strand did while enough others were in progress, as parts of that time."""

    strand: int
    computing: float
    queued: float
    asleep: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge found."""

    status: Status
    spans: tuple[Span, ...] = ()
    why: Why = ""
    found: int = 0
    """The most threads that had a call in progress at one instant."""
    demand: float = 0.0
    """How many processors they asked for while enough of them were in progress."""
    loads: tuple[Load, ...] = ()
    lock: Place | None = None
    """Where they waited for a lock."""


def judge(trace: Trace, asked: Parallel) -> Verdict:
    """Return whether the calls executed at the same time."""
    spans = calls(trace, asked.targets)
    if {span.name for span in spans} != {trace.watched.get(name, name) for name in asked.targets}:
        return Verdict("broken", spans, "never called")
    threads = _in_progress(trace, spans)
    found = max((len(strands) for _, strands in threads), default=0)
    if found < asked.wanted:
        return Verdict("broken", spans, "one call" if len(spans) == 1 else "too few", found)
    shared = [(interval, strands) for interval, strands in threads if len(strands) >= asked.wanted]
    spent = {strand: _spent(trace, strand, shared) for strand in set().union(*(strands for _, strands in shared))}
    if any(each is None for each in spent.values()):
        return Verdict("inconclusive", spans, "no figures", found)
    wall = sum(end - start for (start, end), _ in shared)
    per_strand = [_load(strand, each) for strand, each in sorted(spent.items()) if each is not None]
    demand = sum(each.computing + each.queued for each in spent.values() if each is not None) / wall if wall else 0.0
    verdict = Verdict("held", spans, "", found, demand, tuple(per_strand))
    is_enough = demand >= SHARE * asked.wanted + HAND_OVER
    knows_queue = all(each.knows_queue for each in spent.values() if each is not None)
    lock = _lock(trace, spent)
    if lock is not None and not is_enough:
        return _but(verdict, "broken", "lock", lock)
    # Processes have a GIL each.
    shared_gil = trace.gil and len({trace.strand(strand).pid for strand in spent}) < len(spent)
    if shared_gil and _took_turns_with_the_gil(list(spent.values()), wall):
        return _but(verdict, "broken", "gil")
    if is_enough:
        return verdict
    if not knows_queue and (trace.cores or 1) < asked.wanted:
        return _but(verdict, "inconclusive", "no figures")
    if demand < IDLE and all(each.asleep > 0.5 for each in per_strand):
        return _but(verdict, "broken", "waited")
    return _but(verdict, "broken", "turns")


def _but(verdict: Verdict, status: Status, why: Why, lock: Place | None = None) -> Verdict:
    return Verdict(status, verdict.spans, why, verdict.found, verdict.demand, verdict.loads, lock)


def _in_progress(trace: Trace, spans: Sequence[Span]) -> list[tuple[Interval, frozenset[int]]]:
    """Return each stretch of time with the strands that had a call in progress in it, one for each thread."""
    # A call that was held until the others had come did nothing meanwhile.
    begins = [span.start if span.let_in is None else span.let_in for span in spans]
    works = [(span, begin, _end(trace, span)) for span, begin in zip(spans, begins, strict=True)]
    edges = sorted({time for _, start, end in works for time in (start, end)})
    found = []
    for start, end in pairwise(edges):
        by_thread = {}
        for span, begun, ended in works:
            if begun <= start and end <= ended:
                strand = trace.strand(span.strand)
                by_thread[strand.pid, strand.thread] = span.strand
        found.append(((start, end), frozenset(by_thread.values())))
    return found


def _end(trace: Trace, span: Span) -> float:
    for time in (span.done_time, span.end):
        if time is not None:
            return time
    return trace.seconds


@dataclass(frozen=True, slots=True)
class _Spent:
    wall: float
    computing: float
    queued: float
    """Waiting for a processor, of this system or of the one that it is a guest of."""
    waits: float
    knows_queue: bool


def _spent(trace: Trace, strand: int, shared: Sequence[tuple[Interval, frozenset[int]]]) -> _Spent | None:
    """Return what *strand* spent inside the shared stretches, None where its clocks were not read."""
    clocks = _readings(trace, strand)
    if len(clocks) < 2:
        return None
    wall = computing = queued = waits = 0.0
    for (start, end), strands in shared:
        if strand in strands:
            before, after = _at(clocks, start), _at(clocks, end)
            wall += end - start
            computing += after[0] - before[0]
            queued += after[1] - before[1]
            waits += after[2] - before[2]
    return _Spent(wall, computing, queued, waits, all(clock.knows_queue for clock in clocks))


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one thread has asked of the processors, summed up to one instant."""

    time: float
    figures: tuple[float, float, float]
    """Computing, waiting for a processor, and how often it went to sleep."""
    knows_queue: bool


def _readings(trace: Trace, strand: int) -> list[_Reading]:
    found: list[_Reading] = []
    withheld = 0.0
    before = None
    for clock in sorted((each for each in trace.clocks if each.strand == strand), key=lambda clock: clock.time):
        if before is not None:
            withheld += _withheld(before, clock)
        before = clock
        figures = (clock.cpu, (clock.queued or 0.0) + withheld, float(clock.switches or 0))
        found.append(_Reading(clock.time, figures, clock.queued is not None))
    return found


def _at(clocks: Sequence[_Reading], time: float) -> tuple[float, float, float]:
    """Return what the clocks of one thread show at *time*, evenly between two readings."""
    index = min(max(bisect_right([clock.time for clock in clocks], time), 1), len(clocks) - 1)
    before, after = clocks[index - 1], clocks[index]
    length = after.time - before.time
    part = min(max((time - before.time) / length, 0.0), 1.0) if length > 0 else 0.0
    pairs = zip(before.figures, after.figures, strict=True)
    cpu, queued, switches = (first + part * (second - first) for first, second in pairs)
    return cpu, queued, switches


def _withheld(before: Clock, after: Clock) -> float:
    """Return for how long the host kept a thread from running between two readings, which looks like sleep."""
    missing = (after.time - before.time) - (after.cpu - before.cpu) - ((after.queued or 0.0) - (before.queued or 0.0))
    if before.queued is None or missing <= 0:
        return 0.0
    if before.awake and after.switches == before.switches:
        # It never went to sleep.
        return missing
    if None in (before.used, before.stolen, after.used, after.stolen):
        return 0.0
    used, stolen = after.used - before.used, after.stolen - before.stolen  # type: ignore[operator]  # none is None
    # It is kept from those who run, each as much as it runs.
    return min(missing, stolen * (after.cpu - before.cpu) / used) if used > 0 else 0.0


def _load(strand: int, spent: _Spent) -> Load:
    wall = spent.wall or 1.0
    computing, queued = spent.computing / wall, spent.queued / wall
    return Load(strand, computing, queued, max(0.0, 1.0 - computing - queued))


def _lock(trace: Trace, spent: Mapping[int, _Spent | None]) -> Place | None:
    """Return the line at which a thread was seen to wait for a lock, and asleep for most of the time."""
    for clock in trace.clocks:
        each = spent.get(clock.strand)
        if clock.lock is not None and each is not None:
            asleep = each.wall - each.computing - each.queued
            if asleep > each.wall / 2:
                return clock.lock
    for use in trace.uses:
        each = spent.get(use.strand)
        if use.action == "wanted" and each is not None and each.wall - each.computing - each.queued > each.wall / 2:
            return use.place
    return None


def _took_turns_with_the_gil(spent: Sequence[_Spent | None], wall: float) -> bool:
    known = [each for each in spent if each is not None]
    computing = sum(each.computing for each in known)
    asleep = sum(max(0.0, each.wall - each.computing - each.queued) for each in known)
    waits = sum(each.waits for each in known)
    # A handful is no pattern: a thread may have to wait once or twice for whatever else.
    wanted = computing + sum(each.queued for each in known)
    # Whoever has the GIL computes or wants to: one at least, all the time. Naps come often, too, but ask for less.
    if waits < 4 or wanted < GIL_HOLDER * max(each.wall for each in known) or computing > GIL_MOST * wall:
        return False
    return waits / computing >= GIL_WAITS and asleep / (computing + asleep) >= GIL_SLEEP
