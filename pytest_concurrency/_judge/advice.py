"""Which way of concurrency fits what was recorded? Pure functions: a trace in, an advice out.

The questions are asked in this order. Does the work compute or wait? Computing wants processes, for the GIL lets one
thread at a time run Python code; without a GIL, threads do. How many wait at once? A few: threads, from a pool where
all is handed in from outside, by hand where the work itself starts more of it. Many: coroutines. Very many: processes
with threads and coroutines in them. Whether the work is for one machine or for several, no recording can tell.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .overlap import calls, peak

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._trace import Clock, Span, Strand, Trace

Way = Literal["processes", "threads", "pool", "coroutines", "all", "one call", "unknown"]
Does = Literal["computes", "waits", ""]

# A processor was busy with it for more than half of the time, and a call is worth the way to another process: there
# and back takes about as long as this.
BUSY, WORTH_SENDING = 0.5, 0.001
# A thread takes tens of kilobytes and tens of microseconds to start, a coroutine a few of each. Up to so many, nobody
# notices; asyncio's and anyio's own pools have 32 and 40 threads.
FEW = 100
# What one event loop can look after without being late for each of them: the classical limit of a server's
# connections ("The C10K problem", Kegel 1999).
MANY = 10_000


@dataclass(frozen=True, slots=True)
class Advice:
    """Which way fits, and the figures that say so."""

    way: Way
    does: Does = ""
    calls: int = 0
    strands: int = 0
    kind: str = ""
    """What the strands were: `thread`, `task`, `process`, and `strand` where there were several kinds."""
    at_once: int = 0
    computing: float = 0.0
    """Seconds that a call computed, on average."""
    demand: float = 0.0
    """How many processors the calls asked for while any of them was in progress, whether they got them or not."""
    waiting: float = 0.0
    """The part of a call's time in which it did not compute."""
    known: int = 0
    """Of how many calls that is known."""
    starts_more: bool = False
    """Calls started further calls, in strands of their own."""


def advise(trace: Trace, name: str) -> Advice:
    """Return which way of concurrency fits the calls named *name*."""
    spans = calls(trace, (name,))
    strands = {strand.id: strand for strand in trace.strands}
    used = {span.strand for span in spans}
    at_once = peak(trace, spans)
    kinds = {_kind(strands[strand]) for strand in used}
    kind = kinds.pop() if len(kinds) == 1 else "strand"
    more = _starts_more(trace, used, strands)
    seen = Advice("unknown", "", len(spans), len(used), kind, at_once, starts_more=more)
    if len(spans) < 2:
        return _but(seen, "one call" if spans else "unknown")
    computed = _computed(trace, spans, strands)
    if not computed:
        return seen
    usual = _usual(computed)
    mean = sum(each.cpu for each in usual) / len(usual)
    wanted = sum(each.wanted for each in usual) / len(usual)
    lasted = sum(each.seconds for each in usual) / len(usual)
    demand = wanted * len(spans) / (_covered(trace, spans) or 1.0)
    seen = replace(
        seen,
        does="computes" if demand >= BUSY and mean >= WORTH_SENDING else "waits",
        computing=mean,
        demand=demand,
        waiting=max(0.0, 1.0 - wanted / lasted) if lasted else 0.0,
        known=len(computed),
    )
    # Kept apart they may be, but there are so many that could go at once.
    many = at_once if at_once > 1 else len(spans)
    if seen.does == "computes":
        if many > FEW:
            return _but(seen, "all")
        return _but(seen, "threads" if trace.gil is False else "processes")
    if many <= FEW:
        return _but(seen, "threads" if seen.starts_more else "pool")
    return _but(seen, "coroutines" if many <= MANY else "all")


def _but(advice: Advice, way: Way) -> Advice:
    return replace(advice, way=way)


def _kind(strand: Strand) -> str:
    if strand.kind in ("thread", "worker"):
        return "thread"
    return "task" if strand.kind.endswith("-task") else strand.kind


def _starts_more(trace: Trace, used: set[int], strands: dict[int, Strand]) -> bool:
    handed_in = {job.by for job in trace.jobs if job.strand in used}
    return bool(handed_in & used) or any(strands[strand].parent in used for strand in used)


@dataclass(frozen=True, slots=True)
class _Computed:
    """What one call did, in seconds."""

    cpu: float
    wanted: float
    """That, and what it waited for a processor."""
    seconds: float
    by_steps: bool = False


def _computed(trace: Trace, spans: Sequence[Span], strands: dict[int, Strand]) -> list[_Computed]:
    """Return what each call did, of those calls of which that is known."""
    clocks: dict[int, list[Clock]] = defaultdict(list)
    for clock in sorted(trace.clocks, key=lambda clock: clock.time):
        clocks[clock.strand].append(clock)
    blocked: dict[int | None, list[tuple[float, float]]] = defaultdict(list)
    for block in trace.blocks:
        if block.kind != "cpu":
            blocked[block.strand].append((block.start, block.end))
    steps = {number: [(step.start, step.end) for step in strands[number].steps] for number in {s.strand for s in spans}}
    found = []
    for span in spans:
        start, end = _start(span), _end(trace, span)
        if steps[span.strand]:
            ran = _inside(steps[span.strand], start, end) - _inside(blocked[span.strand], start, end)
            found.append(_Computed(max(0.0, ran), max(0.0, ran), end - start, by_steps=True))
        else:
            found += _between(clocks[span.strand], start, end)
    return found


def _usual(computed: Sequence[_Computed]) -> list[_Computed]:
    """Return all but the longest tenth, and at least one, of those of which a step's time is known.

    That is not a processor's time: on a busy machine a few seem to compute that were only kept from it.
    """
    by_steps = sorted((each for each in computed if each.by_steps), key=lambda each: each.cpu)
    cut = max(1, len(by_steps) // 10) if len(by_steps) > 2 else 0
    return [each for each in computed if not each.by_steps] + by_steps[: len(by_steps) - cut]


def _between(clocks: Sequence[Clock], start: float, end: float) -> list[_Computed]:
    """Return what a thread asked of the processors from its first reading in a call to its last; nothing for less."""
    index = bisect_left(clocks, start, key=lambda clock: clock.time)
    inside = clocks[index : bisect_right(clocks, end, key=lambda clock: clock.time)]
    if len(inside) < 2:
        return []
    before, after = inside[0], inside[-1]
    cpu = after.cpu - before.cpu
    return [_Computed(cpu, cpu + (after.queued or 0.0) - (before.queued or 0.0), end - start)]


def _inside(stretches: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Return how much of the time from *start* to *end* lies in *stretches*, which come one after the other."""
    seconds = 0.0
    for index in range(bisect_right(stretches, start, key=lambda stretch: stretch[1]), len(stretches)):
        begun, stop = stretches[index]
        if begun >= end:
            break
        seconds += min(end, stop) - max(start, begun)
    return seconds


def _covered(trace: Trace, spans: Sequence[Span]) -> float:
    """Return for how many seconds any of *spans* was in progress."""
    seconds = reached = 0.0
    for start, end in sorted((_start(span), _end(trace, span)) for span in spans):
        seconds += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return seconds


def _start(span: Span) -> float:
    """Return when the work of *span* began: what is before it is the proof's time, not the call's."""
    return span.start if span.let_in is None else span.let_in


def _end(trace: Trace, span: Span) -> float:
    """Return when the work of *span* was done: what follows is the proof's time again."""
    for time in (span.done_time, span.end):
        if time is not None:
            return time
    return trace.seconds
