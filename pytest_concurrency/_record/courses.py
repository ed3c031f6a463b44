"""What each task of a test with a deadline waits for: looked at when the wait is over, and only if it was long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._places import owner
from .._trace import Course, Stretch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .recorder import LiveStrand, Recorder
    from .wait_graph import Look


@dataclass(slots=True)
class LiveCourse:
    """What a strand has waited for, while it is being recorded."""

    of: Courses
    start: float
    end: float
    waits: list[Stretch] = field(default_factory=list)


class Courses:
    """Written down from the first step of each task after its making."""

    def __init__(self, recorder: Recorder, clock: Callable[[], float], least: float) -> None:
        """Take down waits of at least *least* seconds, on *clock*."""
        self._recorder = recorder
        self._clock = clock
        self._least = least
        self._wakers: dict[int, int] = {}

    def resumes(self, live: LiveStrand, look: Callable[[], Look]) -> None:
        """Say that a task is about to go on; *look* tells what it has waited for."""
        now = self._clock()
        course = live.course
        if course is None or course.of is not self:
            live.course = LiveCourse(self, now, now)
            return
        if now - course.end >= self._least and now > course.end:
            seen = look()
            place = seen.place if seen.place is not None and owner(seen.place.file) == "user" else None
            span = self._recorder.open_span(live)
            course.waits.append(Stretch(course.end, now, seen.kind, self._ended_by(seen), place, span))
        course.end = now

    def pauses(self, live: LiveStrand) -> None:
        """Say that a task waits now, or has ended."""
        if live.course is not None:
            live.course.end = self._clock()

    def _ended_by(self, seen: Look) -> tuple[int, ...]:
        recorder = self._recorder
        awaited = (recorder.known(other) for other in seen.on)
        found = tuple(other.strand.id for other in awaited if other is not None)
        if found or seen.resource is None:
            return found
        waker = self._wakers.get(_key(seen.resource))
        giver = waker if waker is not None else recorder.last_to_give(id(seen.resource))
        return (giver,) if giver is not None else ()

    def woken(self, resource: object, by: LiveStrand) -> None:
        """Say that *by* has let those go on who wait for *resource*."""
        self._wakers[_key(resource)] = by.strand.id

    def all(self, strands: Iterable[LiveStrand]) -> tuple[Course, ...]:
        """Return those of *strands* as data."""
        return tuple(
            Course(live.strand.id, live.course.start, live.course.end, tuple(live.course.waits))
            for live in strands
            if live.course is not None and live.course.of is self
        )


def _key(resource: object) -> int:
    # The two ends of a trio channel share their state.
    return id(getattr(resource, "_state", resource))
