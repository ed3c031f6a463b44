"""Did calls overlap? Pure functions: a trace in, a verdict out.

All comparisons are of sequence numbers. Time in which a span kept its loop blocked is not overlap: the whole step in
which it did so, from one suspension to the next, is taken out of the span.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._trace import Block, Release, Span, Step, Strand, Trace

Status = Literal["held", "broken", "inconclusive"]
Why = Literal["", "never called", "one call", "too few", "limit lost", "limit never reached", "limit never tested"]
FOREVER = 1 << 62
Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Overlap:
    """What is expected of some calls, or of strands where no target is named."""

    targets: tuple[str, ...] = ()
    at_least: int = 2
    at_most: int | None = None
    expectation: int = 0
    """Its number, which the releases of held calls carry."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge found."""

    status: Status
    found: int
    """The most that were in at one instant."""
    spans: tuple[Span, ...] = ()
    """The calls it was judged by, in order."""
    why: Why = ""
    release: Release | None = None
    """The instant that decided it, where a call was held."""
    strands: tuple[Strand, ...] = ()
    """The strands it was judged by, where no target is named."""


def judge(trace: Trace, overlap: Overlap) -> Verdict:
    """Return whether the calls were in progress at one instant."""
    if not overlap.targets:
        return _judge_strands(trace, overlap)
    spans = calls(trace, overlap.targets)
    release = _deciding(trace, overlap.expectation)
    if len(overlap.targets) > 1:
        found = most_targets_at_once(trace, overlap.targets)
        wanted = len(overlap.targets)
    else:
        found, wanted = peak(trace, spans), overlap.at_least
    called = {span.name for span in spans}
    if called != set(overlap.targets):
        return Verdict("broken", found, spans, "never called", release)
    if found < wanted:
        if len(spans) == 1:
            return Verdict(_doubt(trace, spans, release), found, spans, "one call", release)
        return Verdict(_doubt(trace, spans, release), found, spans, "too few", release)
    if overlap.at_most is not None:
        return _judge_limit(overlap.at_most, found, spans, release)
    return Verdict("held", found, spans, release=release)


def calls(trace: Trace, names: Iterable[str]) -> tuple[Span, ...]:
    """Return the calls of the targets *names*, in the order in which they began."""
    wanted = {trace.watched.get(name, name) for name in names} | set(names)
    return tuple(sorted((span for span in trace.spans if span.name in wanted), key=lambda span: span.first))


def peak(trace: Trace, spans: Sequence[Span]) -> int:
    """Return the most strands that had one of *spans* in progress at one instant, 0 when there are none."""
    # By strands: a call and the calls that it makes itself are one flow of control.
    by_strand: dict[int, list[Interval]] = defaultdict(list)
    for span in spans:
        by_strand[span.strand] += credited(trace, span)
    return _most([_merge(intervals) for intervals in by_strand.values()])


def most_targets_at_once(trace: Trace, targets: Sequence[str]) -> int:
    """Return how many of *targets* had a call in progress at one instant, each on a strand of its own."""
    per_target = {name: [(span, credited(trace, span)) for span in calls(trace, (name,))] for name in targets}
    instants = {start for each in per_target.values() for _, parts in each for start, _ in parts}
    best = 0
    for instant in instants:
        choices = [
            {span.strand for span, parts in each if any(start <= instant < end for start, end in parts)}
            for each in per_target.values()
        ]
        best = max(best, _matching(choices))
    return best


def _matching(choices: list[set[int]]) -> int:
    """Return for how many of *choices* a strand can be picked with no two alike (augmenting paths)."""
    taken: dict[int, int] = {}

    def place(index: int, tried: set[int]) -> bool:
        for strand in choices[index] - tried:
            tried.add(strand)
            if strand not in taken or place(taken[strand], tried):
                taken[strand] = index
                return True
        return False

    return sum(place(index, set()) for index in range(len(choices)))


def credited(trace: Trace, span: Span) -> list[Interval]:
    """Return the parts of *span* that count as being in progress: all but the steps in which it blocked its loop."""
    end = span.last if span.last is not None else FOREVER
    parts = [(span.first, end)]
    blocks = [block for block in trace.blocks if block.strand == span.strand and block.hinders]
    inside = [block for block in blocks if span.first <= block.first < (span.done or end)]
    if not inside:
        return parts
    steps = trace.strand(span.strand).steps
    for block in inside:
        parts = _without(parts, _step_of(block, steps, span, end))
    return parts


def _step_of(block: Block, steps: Sequence[Step], span: Span, end: int) -> Interval:
    for step in steps:
        if step.first <= block.first <= step.last:
            return step.first, step.last
    # No step of its own: the first one of an eager task runs inside its creator's, and a step may be running still.
    later = [step.first for step in steps if step.first > block.last]
    return span.first, min(later, default=span.done or end)


def _without(parts: list[Interval], cut: Interval) -> list[Interval]:
    left: list[Interval] = []
    for start, end in parts:
        if cut[0] > start:
            left.append((start, min(end, cut[0])))
        if cut[1] < end:
            left.append((max(start, cut[1]), end))
    return [(start, end) for start, end in left if start < end]


def _merge(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _most(groups: Iterable[list[Interval]]) -> int:
    # An end sorts before a start at the same number, so that calls which only touch do not overlap.
    edges = sorted(edge for group in groups for start, end in group for edge in ((start, 1), (end, -1)))
    most = now = 0
    for _, change in edges:
        now += change
        most = max(most, now)
    return most


def _deciding(trace: Trace, expectation: int) -> Release | None:
    """Return the release that shows most of why the others were not in, None where no call was held.

    Where patience ran out that is the one in doubt; otherwise the one with most calls inside, and with most strands
    that wait for something that lets only so many go on.
    """
    releases = [release for release in trace.releases if release.expectation == expectation]
    alone = [release for release in releases if release.reason != "met"]
    out_of_patience = [release for release in alone if release.reason == "patience"]
    return max(out_of_patience or alone or releases, key=_shown, default=None)


def _shown(release: Release) -> tuple[int, int]:
    return len(release.spans), sum(wait.kind in ("lock", "semaphore", "limiter") for wait in release.waits)


def _doubt(trace: Trace, spans: Sequence[Span], release: Release | None) -> Status:
    """Tell whether too few calls at once are proof, or whether the others were only late."""
    if release is None or release.reason != "patience":
        return "broken"
    ran_out = [
        each.number for each in trace.releases if each.expectation == release.expectation and each.reason == "patience"
    ]
    if any(span.first > min(ran_out) for span in spans):
        # It came in as soon as a held call was let go, and not before, whichever release is the one that is shown.
        return "broken"
    return "inconclusive" if any(what.startswith(_OUTSIDE) for what in release.pending) else "broken"


# What the program itself does not decide: it may answer late, or never.
_OUTSIDE = ("a socket", "a worker", "thread", "a listening server")


def _judge_limit(at_most: int, found: int, spans: tuple[Span, ...], release: Release | None) -> Verdict:
    if found > at_most:
        return Verdict("broken", found, spans, "limit lost", release)
    if found < at_most:
        return Verdict("broken", found, spans, "limit never reached", release)
    # It bites when somebody came in only after those inside had gone.
    after = release.number if release is not None else sorted(span.last or FOREVER for span in spans)[0]
    if not any(span.first > after for span in spans):
        return Verdict("broken", found, spans, "limit never tested", release)
    return Verdict("held", found, spans, release=release)


def _judge_strands(trace: Trace, overlap: Overlap) -> Verdict:
    strands = tuple(strand for strand in trace.strands if strand.started_by_test and _is_work(trace, strand))
    groups = [_merge(_credited_strand(trace, strand)) for strand in strands]
    found = _most(groups)
    if not strands:
        return Verdict("broken", 0, (), "never called", None, strands)
    if overlap.at_most is not None and found > overlap.at_most:
        return Verdict("broken", found, (), "limit lost", None, strands)
    if found < overlap.at_least:
        return Verdict("broken", found, (), "one call" if len(strands) == 1 else "too few", None, strands)
    return Verdict("held", found, (), "", None, strands)


def _is_work(trace: Trace, strand: Strand) -> bool:
    """Tell whether *strand* does something itself: a thread that runs a loop leaves that to its tasks."""
    if strand.kind != "thread":
        return strand.kind != "callback"
    end = strand.last if strand.last is not None else FOREVER
    return not any(
        (other.kind.endswith("-task") or other.kind == "greenlet")
        and other.thread == strand.thread
        and strand.first < other.first < end
        for other in trace.strands
    )


def _credited_strand(trace: Trace, strand: Strand) -> list[Interval]:
    if strand.kind == "worker":
        # Between two jobs it is idle.
        return [
            (job.first, job.last if job.last is not None else FOREVER) for job in trace.jobs if job.strand == strand.id
        ]
    first = strand.steps[0].first if strand.steps else strand.first
    end = strand.last if strand.last is not None else FOREVER
    parts = [(first, end)] if first < end else []
    for block in trace.blocks:
        if block.strand == strand.id and block.hinders:
            for step in strand.steps:
                if step.first <= block.first <= step.last:
                    # A strand is seen to end just after its last step.
                    is_last = strand.last is not None and step is strand.steps[-1]
                    parts = _without(parts, (step.first, end if is_last else step.last))
    return parts
