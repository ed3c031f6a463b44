"""The notebook of one test: strands and spans as they happen, a frozen Trace at the end.

It knows no event loop. Sources tell it what they see; `locators` tell it which strand is running here.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from inspect import CO_ASYNC_GENERATOR
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from .._originals import RLock, get_ident, thread_local
from .._places import callers, lines_to, places
from .._sequence import new_counter, next_number
from .._trace import Block, Clock, Job, Outcome, Place, Release, Span, Step, Strand, Trace, Use
from .awaiting import innermost_alive
from .cpu_clocks import CpuClocks, free_cores, has_gil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .._places import Lines
    from .courses import Courses, LiveCourse
    from .journal import Journal
    from .others import OtherProcesses


@dataclass(slots=True, weakref_slot=True, eq=False)
class LiveStrand:
    """A strand while it is being recorded."""

    strand: Strand
    steps: list[Step] = field(default_factory=list)
    chain: tuple[weakref.ref[Any], ...] = ()
    """The coroutines that led to its call that was held last (see `awaiting`)."""
    course: LiveCourse | None = None
    """What it has waited for, where the test has a deadline."""


class LiveSpan:
    """A span while it is being recorded: bare figures, since a call of a microsecond is not to cost many."""

    let_in: float | None = None
    done: int | None = None
    done_time: float | None = None
    last: int | None = None
    end: float | None = None
    outcome: Outcome = "open"
    again: Place | None = None
    blocked = False
    """It has kept its event loop blocked at least once."""
    is_clocked = False
    """`CpuClocks` reads what its thread asks of the processors."""
    _span: Span | None = None

    def __init__(
        self,
        number: int,
        strand: LiveStrand,
        name: str,
        first: int,
        start: float,
        lines: Lines,
        place: Place | None,
    ) -> None:
        self.id = number
        self.strand = strand
        self.name = name
        self.first = first
        self.start = start
        self.lines = lines
        self.place = place

    @property
    def span(self) -> Span:
        """It as part of a trace."""
        if self._span is not None:
            return self._span
        span = Span(
            id=self.id,
            strand=self.strand.strand.id,
            name=self.name,
            first=self.first,
            start=self.start,
            done=self.done,
            done_time=self.done_time,
            last=self.last,
            end=self.end,
            let_in=self.let_in,
            outcome=self.outcome,
            caller=places(self.lines),
            again=self.again,
            place=self.place,
        )
        if self.last is not None:
            # Nothing about it changes any more.
            self._span = span
        return span


@dataclass(slots=True, eq=False)
class LiveJob:
    """A pool's job while it is being done."""

    job: Job


@dataclass(frozen=True, slots=True)
class Here:
    """The flow of control that asks: an object that stands for it, and what to call it."""

    key: object
    kind: str
    name: str
    backend: str | None
    foreign: bool = False
    """It belongs to a test runner, not to the test."""


class SpanListener(Protocol):
    """Is told of the spans of some watched targets, in the thread where they happen."""

    def entered(self, live: LiveSpan) -> None: ...

    def left(self, live: LiveSpan) -> None: ...


class Recorder:
    """Collects what one test does."""

    def __init__(self, nodeid: str = "", clock: Callable[[], float] = perf_counter) -> None:
        self.nodeid = nodeid
        self.pid = os.getpid()
        self.is_here = True
        """Whether this is the process that is recorded: a forked child has a copy, with locks that may stay shut."""
        _recorders.add(self)
        self.watched: dict[str, str] = {}
        self.locators: list[Callable[[], Here | None]] = []
        """Asked in order; the first that answers wins. A thread is the answer when none does."""
        self.callers: list[Callable[[LiveStrand, FrameType | None], None]] = []
        """Told who is about to make a call."""
        self.in_body = False
        """The test's own body is running: not its fixtures, not its teardown."""
        self.backend: str | None = None
        self.clocks: CpuClocks | None = None
        """Reads what threads ask of the processors, where a verdict needs it."""
        self.courses: Courses | None = None
        """Takes down what tasks wait for, where a deadline is to be judged."""
        self._clock = clock
        self.origin = clock()
        """When the recording began, by the clock."""
        self._live: weakref.WeakKeyDictionary[object, LiveStrand] = weakref.WeakKeyDictionary()
        self._strands: list[LiveStrand] = []
        self._spans: list[LiveSpan] = []
        self._open: dict[int, LiveSpan] = {}
        self._number = new_counter()
        self._jobs: list[LiveJob] = []
        self._blocks: list[Block] = []
        self._uses: list[Use] = []
        self._releases: list[Release] = []
        self._clocks: list[Clock] = []
        self.journal: Journal | None = None
        """Where this process tells the others of the test what it records, where there are any."""
        self.others: OtherProcesses | None = None
        """What they tell."""
        self._creating = thread_local()
        self._thread = thread_local()
        # Two threads may meet a new strand at once; reentrant, since a finalizer may record in the middle of it.
        self._lock = RLock()

    def restart(self, journal: Journal, others: OtherProcesses) -> None:
        """Begin anew in a child process, which tells *journal* what it does; the names and the clock go on."""
        names, clocks, in_body, origin = self.watched, self.clocks, self.in_body, self.origin
        locators, told = self.locators, self.callers
        self.__init__(self.nodeid, self._clock)  # type: ignore[misc]  # all of it is the parent's, down to the lock
        self.watched, self.in_body, self.origin, self.journal = names, in_body, origin, journal
        self.locators, self.callers, self.others = locators, told, others
        if clocks is not None:
            self.clocks = CpuClocks(self, clocks.most, sparing=clocks.sparing)

    def tell(self, journal: Journal, others: OtherProcesses) -> None:
        """Tell *journal* what happens from now on, so that child processes can read it, and what is open already."""
        # What begins from here on tells it itself; without the lock, which another thread may have as this one forks.
        self.journal, self.others = journal, others
        for live in tuple(self._open.values()):
            journal.span(live.span)

    def now(self) -> float:
        """Return the seconds since the recording began."""
        return self._clock() - self.origin

    # Strands

    def here(self) -> LiveStrand:
        """Return the strand that runs in this thread now."""
        for locate in self.locators:
            here = locate()
            if here is not None:
                break
        else:
            return self._this_thread()
        if here.backend is not None and self.in_body and self.backend is None:
            self.backend = here.backend
        return self.strand_for(here)

    def _this_thread(self) -> LiveStrand:
        live: LiveStrand | None = getattr(self._thread, "live", None)
        if live is None:
            thread = threading.current_thread()
            live = self._thread.live = self.strand_for(Here(thread, "thread", thread.name, None))
        return live

    def here_in_thread(self, thread: threading.Thread, *, foreign: bool = False) -> LiveStrand:
        """Return the strand of *thread*, which is about to begin or to do a job; it may be a greenlet in disguise."""
        here = next((found for found in (locate() for locate in self.locators) if found is not None), None)
        if here is None:
            return self.strand_for(Here(thread, "thread", thread.name, None, foreign=foreign))
        live = self.strand_for(here)
        self.rename(live, thread.name)
        if foreign:
            live.strand = replace(live.strand, started_by_test=False)
        return live

    def strand_for(self, here: Here) -> LiveStrand:
        """Return the strand that *here* stands for; it begins now if it is new."""
        live = self._live.get(here.key)
        return live if live is not None else self._begin_strand(here)

    def known(self, key: object) -> LiveStrand | None:
        """Return the strand that *key* stands for, None where it was never met."""
        return self._live.get(key) if key is not None else None

    def _begin_strand(self, here: Here) -> LiveStrand:
        parent: LiveStrand | None
        root: bool
        parent, root, place = getattr(self._creating, "value", (None, here.kind == "thread", None))
        if root and here.kind != "thread":
            # The outermost task of a loop that runs in a thread of the test's own is what that thread does.
            thread = self._live.get(threading.current_thread())
            root = thread is None or not thread.strand.started_by_test
        stand_in: LiveStrand | None = getattr(self._creating, "stand_in", None)
        with self._lock:
            live = self._live.get(here.key)
            if live is not None:
                return live
            if stand_in is not None:
                self._live[here.key] = stand_in
                return stand_in
            strand = Strand(
                id=len(self._strands) + 1,
                kind=here.kind,
                name=here.name,
                pid=os.getpid(),
                thread=get_ident(),
                parent=parent.strand.id if parent is not None else None,
                first=next_number(),
                start=self.now(),
                place=place,
                started_by_test=self.in_body and not root and not here.foreign,
            )
            live = LiveStrand(strand)
            self._strands.append(live)
            self._live[here.key] = live
        if self.journal is not None:
            self.journal.strand(live.strand)
        return live

    @contextmanager
    def creating(self, parent: LiveStrand | None, *, root: bool, caller: FrameType | None) -> Iterator[None]:
        """Say who starts the strands that are met inside the `with` block, and whether a test runner does."""
        with self.started_by(parent, root=root, place=next(iter(callers(caller, 1)), None)):
            yield

    @contextmanager
    def in_place_of(self, live: LiveStrand) -> Iterator[None]:
        """Take the strands that are met inside the `with` block for *live*."""
        self._creating.stand_in = live
        try:
            yield
        finally:
            del self._creating.stand_in

    @contextmanager
    def started_by(self, parent: LiveStrand | None, *, root: bool, place: Place | None) -> Iterator[None]:
        """Say the same, where the line is known already."""
        before = getattr(self._creating, "value", None)
        self._creating.value = (parent, root, place)
        try:
            yield
        finally:
            if before is None:
                del self._creating.value
            else:
                self._creating.value = before

    def rename(self, live: LiveStrand, name: str) -> None:
        """Give a strand another name."""
        if live.strand.name != name:
            live.strand = replace(live.strand, name=name)

    def end_strand(self, live: LiveStrand) -> None:
        """Say that a strand has ended."""
        if live.strand.last is None:
            live.strand = replace(live.strand, last=next_number(), end=self.now())
            if self.journal is not None:
                self.journal.strand(live.strand)

    # Jobs

    def begin_job(
        self, worker: LiveStrand, by: LiveStrand, submitted: int, place: Place | None, *, by_test: bool
    ) -> LiveJob:
        """Say that a pool's thread begins what *by* handed in."""
        # It may have been started for somebody else; what it does counts, not what it is.
        worker.strand = replace(
            worker.strand, kind="worker", started_by_test=worker.strand.started_by_test or (by_test and self.in_body)
        )
        live = LiveJob(
            Job(worker.strand.id, submitted, next_number(), self.now(), by=by.strand.id, place=place),
        )
        self._jobs.append(live)
        return live

    def end_job(self, live: LiveJob) -> None:
        """Say that the job is done; only the first time counts."""
        if live.job.last is None:
            live.job = replace(live.job, last=next_number(), end=self.now())

    def open_jobs(self) -> tuple[Job, ...]:
        """Return the jobs that are being done."""
        return tuple(live.job for live in tuple(self._jobs) if live.job.last is None)

    def keys_of(self, kind: str) -> list[Any]:
        """Return what stands for the strands of a kind that are still alive."""
        return [key for key, live in tuple(self._live.items()) if live.strand.kind == kind]

    def key_of(self, strand: int) -> object:
        """Return what stands for a strand: its task or thread; None where it is gone."""
        for key, live in tuple(self._live.items()):
            if live.strand.id == strand:
                return key
        return None

    # Spans

    def begin(self, name: str, caller: FrameType | None = None, place: Place | None = None) -> LiveSpan:
        """Open a span on the strand that runs here."""
        # Each step shows: a call of a microsecond is not to cost many.
        try:
            strand = self.here() if self.locators else self._thread.live
        except AttributeError:
            strand = self._this_thread()
        lines = lines_to(caller)
        if self.callers:
            for tell in self.callers:
                tell(strand, caller)
        live = LiveSpan(self._number(), strand, name, next_number(), self._clock() - self.origin, lines, place)
        if strand.chain:
            live.again = _again(strand, caller)
        self._spans.append(live)
        self._open[live.id] = live
        if self.journal is not None:
            self.journal.span(live.span)
        if self.clocks is not None:
            self.clocks.began(live)
        return live

    def about_to_begin(self, live: LiveSpan) -> None:
        """Say that a call which was held at its start begins with its work as soon as the others are ready too."""
        if self.clocks is not None:
            self.clocks.let_in(live)

    def let_in(self, live: LiveSpan) -> None:
        """Say that it begins now."""
        live.let_in = self.now()

    def done(self, live: LiveSpan, outcome: Outcome) -> None:
        """Say that the work of a span has ended, though the call may still be held."""
        if live.is_clocked and self.clocks is not None:
            self.clocks.ended(live)
        live.done = next_number()
        live.done_time = self._clock() - self.origin
        live.outcome = outcome
        if self.journal is not None:
            self.journal.span(live.span)

    def returned(self, live: LiveSpan) -> None:
        """Say that a call which nobody holds has returned: its work is done, and it ends."""
        if live.is_clocked and self.clocks is not None:
            self.clocks.ended(live)
        live.done = next_number()
        live.outcome = "returned"
        self._open.pop(live.id, None)
        live.done_time = live.end = self._clock() - self.origin
        # Last of all: from then on it is taken for complete, by other threads too.
        live.last = next_number()
        if self.journal is not None:
            self.journal.span(live.span)

    def end(self, live: LiveSpan) -> None:
        """Close a span."""
        self._open.pop(live.id, None)
        live.end = self._clock() - self.origin
        live.last = next_number()
        if self.journal is not None:
            self.journal.span(live.span)

    # What else happens

    def add_block(self, block: Block) -> None:
        """Take down that a loop was blocked; the spans open on that strand are part of it."""
        if block.hinders and block.strand is not None:
            for live in tuple(self._open.values()):
                if live.strand.strand.id == block.strand:
                    live.blocked = True
        shift = self.origin
        self._blocks.append(replace(block, start=block.start - shift, end=block.end - shift))

    def add_use(self, use: Use) -> None:
        """Take down that a strand took or gave back a lock, a permit or an item."""
        self._uses.append(use)
        if self.journal is not None and use.time is not None:
            self.journal.use(use)

    def add_clock(self, clock: Clock) -> None:
        """Take down what a thread has asked of the processors."""
        self._clocks.append(clock)
        if self.journal is not None:
            self.journal.clock(clock)

    def add_release(self, release: Release) -> None:
        """Take down that held calls were let go."""
        self._releases.append(release)
        if self.journal is not None:
            self.journal.release(release)

    def holders(self, resource: int) -> tuple[int, ...]:
        """Return the strands that took *resource* and have not given it back."""
        held: list[int] = []
        for use in tuple(self._uses):
            if use.resource != resource:
                continue
            if use.action == "took":
                held.append(use.strand)
            elif use.strand in held:
                held.remove(use.strand)
            elif held:
                # Given back by somebody else, as a semaphore may be.
                held.pop(0)
        return tuple(held)

    def open_span(self, live: LiveStrand) -> str | None:
        """Return the name of the innermost span that is open on a strand, None where there is none."""
        return next((each.name for each in reversed(tuple(self._open.values())) if each.strand is live), None)

    def last_to_give(self, resource: int) -> int | None:
        """Return the strand that gave *resource* back last, None where nobody has."""
        return next(
            (use.strand for use in reversed(self._uses) if use.resource == resource and use.action == "gave"), None
        )

    def trace(self) -> Trace:
        """Return what has been recorded so far."""
        return Trace(
            nodeid=self.nodeid,
            backend=self.backend,
            seconds=self.now(),
            strands=tuple(replace(live.strand, steps=tuple(live.steps)) for live in tuple(self._strands)),
            spans=tuple(live.span for live in tuple(self._spans)),
            jobs=tuple(live.job for live in tuple(self._jobs)),
            blocks=tuple(self._blocks),
            uses=tuple(self._uses),
            releases=tuple(self._releases),
            clocks=tuple(self._clocks),
            courses=self.courses.all(tuple(self._strands)) if self.courses is not None else (),
            cores=free_cores() if self.clocks is not None else None,
            gil=has_gil() if self.clocks is not None else None,
            watched=dict(self.watched),
        )


def _again(strand: LiveStrand, caller: FrameType | None) -> Place | None:
    """Return the line that makes this call and made the held one before it (see `Span.again`)."""
    if caller is not None and caller.f_code.co_flags & CO_ASYNC_GENERATOR:
        # It lives on between the calls that it makes, but what awaits it cannot be followed into it.
        return None
    return innermost_alive(strand.chain)


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for recorder in tuple(_recorders):
        # The recorders of the parent; one that has begun anew here may stay.
        recorder.is_here = recorder.pid == os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
