"""What made a test take so long? Pure function: the waits of its tasks in, one chain through them out.

The chain is followed from the end backwards: a task was late since it waited, and where that was for another task, that
one was late. What is left when every detour is cut away is the critical path: nothing else can make the test shorter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._trace import Course, Place, Stretch, Trace

_MOST = 20_000
_LIMITS = frozenset({"lock", "semaphore", "limiter"})


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the critical path."""

    strand: int | None
    """None where no task was on the way: the test's own code outside its loops."""
    start: float
    end: float
    kind: str
    """As `Wait.kind`, `running` where it did not wait."""
    place: Place | None = None
    times: int = 1
    """How many waits at one line it stands for."""
    span: str | None = None
    """The innermost span that was open."""
    held_up: str | None = None
    """The kind of limit, a lock for example, that the next piece waited for meanwhile."""

    @property
    def seconds(self) -> float:
        return self.end - self.start


def critical_path(trace: Trace, seconds: float, least: float = 0.0) -> tuple[Piece, ...]:
    """Return the chain of waits that made the test's body take *seconds*, in order; empty where no task was recorded.

    Args:
        least: Pieces in which a task ran are left out below this length.
    """
    if not trace.courses:
        return ()
    return tuple(_joined([piece for piece in reversed(_backwards(trace, seconds)) if _counts(piece, least)]))


def attack(path: Sequence[Piece]) -> tuple[Piece, float]:
    """Return the piece whose line and kind the most time of a *path* goes into, and how much does."""
    sums: dict[tuple[str, Place | None], float] = {}
    for piece in path:
        key = (piece.kind, piece.place)
        sums[key] = sums.get(key, 0.0) + piece.seconds
    worst = max(sums, key=lambda key: sums[key])
    return next(piece for piece in path if (piece.kind, piece.place) == worst), sums[worst]


def _counts(piece: Piece, least: float) -> bool:
    return piece.seconds > 0 and (piece.kind != "running" or piece.seconds >= least)


def _backwards(trace: Trace, seconds: float) -> list[Piece]:
    courses = {course.strand: course for course in trace.courses}
    parents = {strand.id: strand.parent for strand in trace.strands}
    pieces: list[Piece] = []
    at = seconds
    lines = {strand.id: strand.place for strand in trace.strands}
    course = _ended_last(_roots(courses, parents), at)
    seen: set[tuple[int, float]] = set()
    held_up: str | None = None
    while course is not None and at > 0 and len(pieces) < _MOST:
        here = course.strand
        if (here, at) in seen:
            # Two that wake each other at one instant: go on in one of them.
            wait = next((each for each in reversed(course.waits) if each.end <= at), None)
            if wait is None:
                break
            pieces.append(_piece(here, wait, wait.start, wait.end, lines))
            at = wait.start
            continue
        seen.add((here, at))
        wait = next((each for each in reversed(course.waits) if each.end <= at and each.start < at), None)
        if wait is None:
            begun = max(0.0, min(course.start, at))
            pieces.append(Piece(here, begun, at, "running"))
            at = begun
            parent = parents.get(here)
            others = {strand: each for strand, each in _roots(courses, parents).items() if strand != here}
            course = courses[parent] if parent in courses else _ended_last(others, at, before=True)
            continue
        pieces.append(Piece(here, wait.end, at, "running"))
        at = wait.end
        cause = _cause(courses, parents, here, wait)
        if cause is not None:
            course = cause
            held_up = wait.kind if wait.kind in _LIMITS else None
            continue
        start = max(0.0, wait.start)
        pieces.append(replace(_piece(here, wait, start, at, lines), held_up=held_up))
        held_up = None
        at = start
    if at > 0:
        pieces.append(Piece(None, 0.0, at, "running"))
    return pieces


def _roots(courses: dict[int, Course], parents: dict[int, int | None]) -> dict[int, Course]:
    return {strand: course for strand, course in courses.items() if parents.get(strand) not in courses}


def _ended_last(courses: dict[int, Course], at: float, *, before: bool = False) -> Course | None:
    ended = [course for course in courses.values() if not before or course.end <= at]
    # One that never waits at a line of the user's is a runner's, or the loop's own.
    return max(ended, key=lambda course: (any(wait.place for wait in course.waits), course.end), default=None)


def _piece(strand: int, wait: Stretch, start: float, end: float, lines: dict[int, Place | None]) -> Piece:
    # A library's coroutine that was started as a task has no line of the user's but the one that started it.
    return Piece(strand, start, end, wait.kind, wait.place or lines.get(strand), span=wait.span)


def _cause(courses: dict[int, Course], parents: dict[int, int | None], strand: int, wait: Stretch) -> Course | None:
    """Return the course of whoever ended a wait, from which to go on backwards."""
    if wait.kind != "task" and (wait.on or wait.place is not None):
        others = [courses[other] for other in wait.on if other in courses and other != strand]
        return others[0] if others and any(each.end > wait.start for each in others[0].waits) else None
    # A nursery, a group or a runner does not say whom it waited for: those that were started by the one who waits.
    family = wait.on or tuple(other for other, parent in parents.items() if parent == strand)
    ended = [courses[other] for other in family if other in courses and wait.start < courses[other].end <= wait.end]
    return max(ended, key=lambda course: course.end, default=None)


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Put neighbours at one line together, as the waits of a loop are, with the moments in which it ran between."""
    joined: list[Piece] = []
    for piece in pieces:
        before = joined[-1] if joined else None
        if before is not None and _place_in_code(before) == _place_in_code(piece):
            joined[-1] = replace(before, end=piece.end, times=before.times + piece.times)
        else:
            joined.append(piece)
    return joined


def _place_in_code(piece: Piece) -> tuple[object, ...]:
    return piece.strand, piece.kind, piece.place, piece.span, piece.held_up
