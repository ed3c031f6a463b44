"""One trace out of those of several processes. Pure: a trace and what the children told in, a trace out."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from .journal import Child

if TYPE_CHECKING:
    from .._trace import Clock, Release, Trace


def merged(trace: Trace, children: list[Child]) -> Trace:
    """Return *trace* with what *children* did, in one order: by time, which all processes of a system share.

    Each process numbers its own events. A child's event comes after the last of this process's that was not later.
    """
    told = [child for child in children if child.strands]
    if not told:
        return trace
    order = _Order(trace, told)
    strands = [_scaled(strand, order.own) for strand in trace.strands]
    spans = [_scaled(span, order.own) for span in trace.spans]
    clocks = [_scaled(clock, order.own) for clock in trace.clocks]
    uses = [_scaled(use, order.own) for use in trace.uses]
    seen: list[tuple[int, Clock]] = []
    releases = [_scaled(release, order.own) for release in trace.releases]
    lost: list[str] = []
    ids: dict[tuple[int, int], int] = {}
    for child in sorted(told, key=lambda child: min(strand.start for strand in child.strands.values())):
        last, final = order.end_of(child.pid)
        number = partial(order.of, child.pid)
        oldest = min(child.strands)
        for strand in child.strands.values():
            ids[child.pid, strand.id] = len(strands) + 1
            parent = ids.get((child.pid, strand.parent)) if strand.parent is not None else None
            is_main = strand.id == oldest
            if is_main:
                starter = child.start
                parent = ids.get((starter.pid, starter.strand), starter.strand)
                strand = dataclasses.replace(
                    strand, kind="process", name=child.name, place=starter.place, started_by_test=starter.by_test
                )
            if child.ended and strand.last is None:
                strand = dataclasses.replace(strand, last=last, end=final)
            strands.append(_scaled(dataclasses.replace(strand, id=len(strands) + 1, parent=parent), number))
        calls: dict[int, int] = {}
        for span in child.spans.values():
            if child.ended and span.last is None:
                lost.append(
                    f"Process {child.name!r} (pid {child.pid}) ended inside a call of {span.name}: what it did after"
                    f" {final * 1000:.1f} ms is not known."
                )
                span = dataclasses.replace(span, last=last, end=final)
            calls[span.id] = len(spans) + 1
            spans.append(
                _scaled(dataclasses.replace(span, id=len(spans) + 1, strand=ids[child.pid, span.strand]), number)
            )
        uses += [_scaled(dataclasses.replace(use, strand=ids[child.pid, use.strand]), number) for use in child.uses]
        seen += [(pid, _scaled(clock, number)) for pid, clock in child.seen]
        releases += [_scaled(_renamed(each, child.pid, ids, calls), number) for each in child.releases]
        clocks += [
            _scaled(dataclasses.replace(clock, strand=ids[child.pid, clock.strand]), number) for clock in child.clocks
        ]
    clocks += [
        dataclasses.replace(clock, strand=ids[pid, clock.strand]) for pid, clock in seen if (pid, clock.strand) in ids
    ]
    return dataclasses.replace(
        trace,
        strands=tuple(strands),
        spans=tuple(spans),
        clocks=tuple(clocks),
        jobs=tuple(_scaled(job, order.own) for job in trace.jobs),
        blocks=tuple(_scaled(block, order.own) for block in trace.blocks),
        uses=tuple(sorted(uses, key=lambda use: use.number)),
        releases=tuple(releases),
        lost=(*(child.problem for child in told if child.problem), *lost),
    )


def _renamed(release: Release, pid: int, strands: dict[tuple[int, int], int], calls: dict[int, int]) -> Release:
    """Return a child's release with the numbers that its strands and calls have in the whole trace."""
    waits = tuple(
        dataclasses.replace(
            wait, strand=strands[pid, wait.strand], on=tuple(strands[pid, strand] for strand in wait.on)
        )
        for wait in release.waits
    )
    return dataclasses.replace(release, waits=waits, spans=tuple(calls[span] for span in release.spans))


_NUMBERS = ("first", "last", "done", "number", "submitted")


def _scaled(what: Any, number: Any) -> Any:
    names = {each.name for each in dataclasses.fields(what)}
    changed = {
        name: number(getattr(what, name)) for name in _NUMBERS if name in names and getattr(what, name) is not None
    }
    if getattr(what, "steps", ()):
        changed["steps"] = tuple(_scaled(step, number) for step in what.steps)
    return dataclasses.replace(what, **changed)


def _times(what: Child | Trace) -> dict[int, float]:
    """Return when each numbered event was."""
    spans = what.spans.values() if isinstance(what, Child) else what.spans
    strands = what.strands.values() if isinstance(what, Child) else what.strands
    pairs: list[tuple[int | None, float | None]] = []
    for each in (*spans, *strands):
        pairs += [(each.first, each.start), (each.last, each.end)]
    pairs += [(span.done, span.done_time) for span in spans]
    seen = [clock for _, clock in what.seen] if isinstance(what, Child) else []
    pairs += [(each.number, each.time) for each in (*what.clocks, *what.releases, *what.uses, *seen)]
    return {number: time for number, time in pairs if number is not None and time is not None}


class _Order:
    """One line of numbers: this process's are spread, so that those of its children find room between them."""

    def __init__(self, trace: Trace, children: list[Child]) -> None:
        own = _times(trace)
        known = sorted((time, number) for number, time in own.items())
        self._ends: dict[int, tuple[int, float]] = {}
        events: list[tuple[float, int, int]] = []
        for child in children:
            time = 0.0
            times = _times(child)
            for number in sorted(times):
                # Two threads may take their numbers in one order and look at the clock in the other.
                time = max(time, times[number])
                events.append((time, child.pid, number))
            # One more, for the end of what has no end of its own.
            self._ends[child.pid] = (number + 1, time)
            events.append((time, child.pid, number + 1))
        self._scale = len(events) + 1
        self._found: dict[tuple[int, int], int] = {}
        before = index = 0
        for place, (time, pid, number) in enumerate(sorted(events), 1):
            while index < len(known) and known[index][0] <= time:
                before = max(before, known[index][1])
                index += 1
            self._found[pid, number] = before * self._scale + place

    def own(self, number: int) -> int:
        """Return what *number* of this process has become."""
        return number * self._scale

    def of(self, pid: int, number: int) -> int:
        """Return what *number* of a child has become."""
        return self._found[pid, number]

    def end_of(self, pid: int) -> tuple[int, float]:
        """Return a number after all that a child has told, and when it was last heard of."""
        return self._ends[pid]
