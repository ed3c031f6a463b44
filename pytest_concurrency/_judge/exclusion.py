"""Did calls exclude each other? Pure functions: a trace in, a verdict out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .overlap import FOREVER, calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._trace import Release, Span, Trace, Use
    from .overlap import Status


@dataclass(frozen=True, slots=True)
class Exclusion:
    """What a judge found."""

    status: Status
    spans: tuple[Span, ...]
    """The calls it was judged by, in order."""
    why: str = ""
    """`never called`, `one call`, `overlap`, `late`, or nothing."""
    pair: tuple[Span, Span] | None = None
    """Two calls that were in progress together: the one that was in, and the one that got in."""
    given_back: Use | None = None
    """The lock that the first one gave back before its work was done."""
    release: Release | None = None


def judge(trace: Trace, targets: Sequence[str], expectation: int = 0) -> Exclusion:
    """Return whether no two calls of *targets* were ever in progress together."""
    spans = calls(trace, targets)
    if {span.name for span in spans} != {trace.watched.get(name, name) for name in targets}:
        return Exclusion("broken", spans, "never called")
    pair = first_overlap(spans)
    if pair is not None:
        return Exclusion("broken", spans, "overlap", pair, _given_back_early(trace, *pair))
    if len(spans) == 1:
        return Exclusion("broken", spans, "one call")
    doubtful = _doubtful(trace, spans, expectation)
    if doubtful is not None:
        return Exclusion("inconclusive", spans, "late", release=doubtful)
    return Exclusion("held", spans)


def first_overlap(spans: Sequence[Span]) -> tuple[Span, Span] | None:
    """Return the first two of *spans*, which are in order, that were in progress together on two strands."""
    inside: list[Span] = []
    for span in spans:
        inside = [other for other in inside if (other.last if other.last is not None else FOREVER) > span.first]
        for other in inside:
            # A call that the first one makes itself is part of it.
            if other.strand != span.strand:
                return other, span
        inside.append(span)
    return None


def _given_back_early(trace: Trace, inside: Span, intruder: Span) -> Use | None:
    """Return the lock that let the second one in: given back by the first in the middle of its call."""
    taken = {use.resource for use in trace.uses if use.strand == intruder.strand and use.action == "took"}
    gifts = [
        use
        for use in trace.uses
        if use.strand == inside.strand and use.action == "gave" and inside.first < use.number < intruder.first
    ]
    return next((use for use in reversed(gifts) if use.resource in taken), gifts[-1] if gifts else None)


def _doubtful(trace: Trace, spans: Sequence[Span], expectation: int) -> Release | None:
    """Return the instant at which patience ran out while the next caller was only late, not locked out."""
    for release in trace.releases:
        if release.expectation != expectation or release.reason != "patience":
            continue
        following = next((span for span in spans if span.first > release.number), None)
        if following is None:
            continue
        wait = next((wait for wait in release.waits if wait.strand == following.strand), None)
        if wait is not None and wait.kind in ("io", "worker", "timer", "future"):
            return release
    return None
