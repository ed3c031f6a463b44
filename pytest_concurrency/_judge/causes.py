"""Why did calls not overlap? Chosen from the trace, never guessed: no cause where the trace shows none."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from .._trace import Wait

if TYPE_CHECKING:
    from .._trace import Block, Job, Place, Release, Span, Strand, Trace
    from .overlap import Verdict

Kind = Literal[
    "blocked",
    "lock",
    "pool",
    "greenlets",
    "workers",
    "processes",
    "chunk",
    "in turn",
    "started in turn",
    "chain",
    "never suspended",
]


@dataclass(frozen=True, slots=True)
class Cause:
    """What kept calls apart."""

    kind: Kind
    place: Place | None = None
    """The line to change."""
    block: Block | None = None
    wait: Wait | None = None
    holder: int | None = None
    """The strand that held the lock."""
    waiting: int = 0
    """How many strands waited for it."""
    size: int = 0
    """How many workers there were, or how many a limit let in."""
    chain: tuple[Wait, ...] = ()
    """Who waits for whom, from the caller down to the held call."""


def cause_of(trace: Trace, verdict: Verdict) -> Cause | None:
    """Return what kept the calls of *verdict* apart, None where the trace does not show it."""
    spans = verdict.spans
    strands = {span.strand for span in spans}
    by_workers = _workers(trace, verdict) or _processes(trace, spans)
    if spans and len(strands) == 1 and len(spans) > 1:
        return by_workers or _pool(trace, spans) or _in_turn(trace, spans)
    block = _block_in(trace, verdict)
    if block is not None:
        return Cause("blocked", block.place, block=block)
    if verdict.strands:
        return _started_in_turn(verdict.strands)
    return (
        _lock(verdict)
        or _shared_lock(trace, verdict)
        or _greenlets(verdict)
        or by_workers
        or _pool(trace, spans)
        or _chain(trace, verdict)
        or _never_suspended(trace, verdict)
        or _each_in_its_own(trace, spans)
    )


def _block_in(trace: Trace, verdict: Verdict) -> Block | None:
    strands = {span.strand for span in verdict.spans} | {strand.id for strand in verdict.strands}
    blocks = [block for block in trace.blocks if block.hinders and block.strand in strands]
    inside = [
        block
        for block in blocks
        if not verdict.spans
        or any(
            span.strand == block.strand and span.first <= block.first and (span.last is None or block.first < span.last)
            for span in verdict.spans
        )
    ]
    return max(inside, key=lambda block: block.seconds or 0.0, default=None)


def called_from(trace: Trace, span: Span) -> Place | None:
    """Return the user's line that made this call: its caller's, or the one that started it as a task."""
    return span.caller[0] if span.caller else trace.strand(span.strand).place


def _in_turn(trace: Trace, spans: tuple[Span, ...]) -> Cause:
    return Cause("in turn", spans[1].again or called_from(trace, spans[1]))


def _started_in_turn(strands: tuple[Strand, ...]) -> Cause | None:
    """Each strand was started when the one before had ended."""
    ordered = sorted(strands, key=lambda strand: strand.first)
    for before, after in pairwise(ordered):
        if before.last is None or before.last > after.first or before.parent != after.parent:
            return None
    return Cause("started in turn", ordered[-1].place) if len(ordered) > 1 else None


def _each_in_its_own(trace: Trace, spans: tuple[Span, ...]) -> Cause | None:
    """Each call had a strand of its own, which was started when the one before had ended: `wait_for` in a loop."""
    cause = _started_in_turn(tuple(trace.strand(span.strand) for span in spans))
    return Cause("in turn", cause.place) if cause is not None else None


def _lock(verdict: Verdict) -> Cause | None:
    if verdict.release is None:
        return None
    inside = {span.strand for span in verdict.spans if span.id in verdict.release.spans}
    waits = [wait for wait in verdict.release.waits if wait.kind in ("lock", "semaphore", "limiter")]
    for wait in waits:
        holder = next((strand for strand in wait.on if strand in inside), None)
        if holder is not None:
            waiting = sum(other.resource == wait.resource for other in waits)
            return Cause("lock", wait.place, wait=wait, holder=holder, waiting=waiting, size=len(wait.on))
    return None


def _shared_lock(trace: Trace, verdict: Verdict) -> Cause | None:
    """A lock that processes share: who is asked for it cannot be seen from the process that holds it."""
    release = verdict.release
    if release is None:
        return None
    inside = {span.strand for span in verdict.spans if span.id in release.spans}
    uses = [use for use in trace.uses if use.time is not None and use.number < release.number]
    last = {(use.strand, use.resource): use for use in uses}
    held = {resource: strand for (strand, resource), use in last.items() if use.action == "took" and strand in inside}
    waits = [use for use in last.values() if use.action == "wanted" and use.resource in held]
    if not waits:
        return None
    first = waits[0]
    wait = Wait(first.strand, first.kind, first.resource, (held[first.resource],), first.place)
    waiting = sum(use.resource == first.resource for use in waits)
    return Cause("lock", first.place, wait=wait, holder=held[first.resource], waiting=waiting, size=1)


def _greenlets(verdict: Verdict) -> Cause | None:
    """The calls are made by a pool's greenlets, and the next one waits for a place in it."""
    if verdict.release is None:
        return None
    inside = {span.strand for span in verdict.spans if span.id in verdict.release.spans}
    waits = [wait for wait in verdict.release.waits if wait.kind == "pool" and inside & set(wait.on)]
    return Cause("greenlets", waits[0].place, size=len(waits[0].on)) if waits else None


def _pool(trace: Trace, spans: tuple[Span, ...]) -> Cause | None:
    """Workers that fetch each call's work from one queue, fewer than there are calls."""
    if len(spans) < 2:
        return None
    strands = {span.strand for span in spans}
    per_strand: dict[int, list[Span]] = {strand: [s for s in spans if s.strand == strand] for strand in strands}
    for strand, own in per_strand.items():
        for before, after in pairwise(own):
            took = any(
                use.kind == "queue"
                and use.action == "took"
                and use.strand == strand
                and (before.done or before.first) < use.number < after.first
                for use in trace.uses
            )
            if not took:
                return None
    if all(len(own) == 1 for own in per_strand.values()):
        return None
    return Cause("pool", called_from(trace, spans[0]), size=len(strands))


def _workers(trace: Trace, verdict: Verdict) -> Cause | None:
    """The calls are jobs of a pool's threads: too few of those, or each handed in when the one before had ended."""
    jobs = [_job_of(trace, span) for span in verdict.spans]
    done = [job for job in jobs if job is not None]
    if len(done) < 2 or len(done) < len(jobs) or len({(job.strand, job.first) for job in done}) < len(done):
        return None
    if any(after.submitted < (before.last or before.first) for before, after in pairwise(done)):
        size = len({job.strand for job in done})
        # Two that ran side by side say nothing of the pool's size.
        if all(before.last is not None and before.last < after.first for before, after in _on_one(done)):
            return Cause("workers", done[0].place, size=size) if size < len(done) else None
        return None
    chain = _chain(trace, verdict)
    return Cause("in turn", chain.place if chain is not None else done[1].place)


def _handed_in(trace: Trace, before: Span, after: Span) -> Place | None:
    """Return the line that handed in the job of the second call to a pool when the first one was over."""
    over = before.last if before.last is not None else before.first
    return next((use.place for use in trace.uses if use.kind == "pool" and over < use.number < after.first), None)


def _processes(trace: Trace, spans: tuple[Span, ...]) -> Cause | None:
    """The calls were made in child processes: too few of those, or in too few of them."""
    made = {span.strand: trace.strand(span.strand) for span in spans}
    # A call that a line of the user's made is that line's affair, in whichever process.
    if len(spans) < 2 or any(strand.kind != "process" for strand in made.values()) or any(s.caller for s in spans):
        return None
    first = next(iter(made.values()))
    pool = [each for each in trace.strands if each.kind == "process" and each.place == first.place]
    between = [_handed_in(trace, before, after) for before, after in pairwise(spans)]
    if len(pool) > 1 and None not in between:
        return Cause("in turn", between[0])
    if len(made) < len(spans):
        kind: Kind = "chunk" if len(made) == 1 and len(pool) > 1 else "processes"
        return Cause(kind, first.place, size=len(pool) if kind == "chunk" else len(made))
    return None


def _on_one(jobs: list[Job]) -> list[tuple[Job, Job]]:
    """Return the jobs that one worker did one after the other, in pairs."""
    strands = {job.strand for job in jobs}
    return [pair for strand in strands for pair in pairwise([job for job in jobs if job.strand == strand])]


def _job_of(trace: Trace, span: Span) -> Job | None:
    for job in trace.jobs:
        if job.strand == span.strand and job.first < span.first and (job.last is None or span.first < job.last):
            return job
    return None


def _chain(trace: Trace, verdict: Verdict) -> Cause | None:
    """The caller of the next call waits, directly or through others, for the held one."""
    release = verdict.release
    if release is None:
        return None
    inside = {span.strand for span in verdict.spans if span.id in release.spans}
    behind = dict.fromkeys(inside)
    chain: list[Wait] = []
    grown = True
    while grown:
        grown = False
        for wait in release.waits:
            if wait.strand not in behind and any(strand in behind for strand in wait.on):
                behind[wait.strand] = None
                chain.insert(0, wait)
                grown = True
    if not chain:
        return None
    if len(chain) == 1 and chain[0].kind in ("task", "join", "result") and len(chain[0].on) == 1:
        if _was_there(trace, verdict, release, chain[0].strand):
            return None
        # Started and awaited at once, one after the other, each in a task of its own.
        return Cause("in turn", chain[0].place, chain=tuple(chain))
    return Cause("chain", chain[0].place, chain=tuple(chain))


def _was_there(trace: Trace, verdict: Verdict, release: Release, waiting: int) -> bool:
    """Tell whether the next call had a strand of its own already, which waited for something else than *waiting*."""
    following = next((span for span in verdict.spans if span.first > release.number), None)
    if following is None or following.strand == waiting:
        return False
    strand = trace.strand(following.strand)
    # A pool's thread was there before it was given the job.
    return strand.kind != "worker" and 0 < strand.first < release.number


def _never_suspended(trace: Trace, verdict: Verdict) -> Cause | None:
    """Every call ran from its start to its end in one step of its strand."""
    if not verdict.spans or verdict.release is not None:
        return None
    steps = {strand.id: strand.steps for strand in trace.strands}
    for span in verdict.spans:
        end = span.done
        if end is None or not any(step.first <= span.first and end <= step.last for step in steps[span.strand]):
            return None
    return Cause("never suspended", verdict.spans[0].place)
