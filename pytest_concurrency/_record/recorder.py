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

from .._places import callers
from .._sequence import next_number
from .._trace import Block, Clock, Job, Outcome, Place, Release, Span, Step, Strand, Trace, Use
from .awaiting import innermost_alive
from .cpu_clocks import CpuClocks, free_cores, has_gil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .journal import Journal
    from .others import OtherProcesses


@dataclass(slots=True, weakref_slot=True, eq=False)
class LiveStrand:
    """A strand while it is being recorded."""

    strand: Strand
    steps: list[Step] = field(default_factory=list)
    chain: tuple[weakref.ref[Any], ...] = ()
    """The coroutines that led to its call that was held last (see `awaiting`)."""


@dataclass(slots=True, eq=False)
class LiveSpan:
    """A span while it is open."""

    span: Span
    strand: LiveStrand
    blocked: bool = False
    """It has kept its event loop blocked at least once."""


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
        self._pid = os.getpid()
        self.watched: dict[str, str] = {}
        self.locators: list[Callable[[], Here | None]] = []
        """Asked in order; the first that answers wins. A thread is the answer when none does."""
        self.in_body = False
        """The test's own body is running: not its fixtures, not its teardown."""
        self.backend: str | None = None
        self.clocks: CpuClocks | None = None
        """Reads what threads ask of the processors, where a verdict needs it."""
        self._clock = clock
        self.origin = clock()
        """When the recording began, by the clock."""
        self._live: weakref.WeakKeyDictionary[object, LiveStrand] = weakref.WeakKeyDictionary()
        self._strands: list[LiveStrand] = []
        self._spans: list[LiveSpan] = []
        self._open: dict[int, LiveSpan] = {}
        self._jobs: list[LiveJob] = []
        self._blocks: list[Block] = []
        self._uses: list[Use] = []
        self._releases: list[Release] = []
        self._clocks: list[Clock] = []
        self.journal: Journal | None = None
        """Where this process tells the others of the test what it records, where there are any."""
        self.others: OtherProcesses | None = None
        """What they tell."""
        self._creating = threading.local()
        # Two threads may meet a new strand at once; reentrant, since a finalizer may record in the middle of it.
        self._lock = threading.RLock()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that is recorded: a forked child has a copy, with locks that may stay shut."""
        return os.getpid() == self._pid

    def restart(self, journal: Journal, others: OtherProcesses) -> None:
        """Begin anew in a child process, which tells *journal* what it does; the names and the clock go on."""
        names, clocks, in_body, origin = self.watched, self.clocks, self.in_body, self.origin
        locators = self.locators
        self.__init__(self.nodeid, self._clock)  # type: ignore[misc]  # all of it is the parent's, down to the lock
        self.watched, self.in_body, self.origin, self.journal = names, in_body, origin, journal
        self.locators, self.others = locators, others
        if clocks is not None:
            self.clocks = CpuClocks(self, clocks.most)

    def tell(self, journal: Journal, others: OtherProcesses) -> None:
        """Tell *journal* what happens from now on, so that child processes can read it, and what is open already."""
        with self._lock:
            self.journal, self.others = journal, others
            for live in self._open.values():
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
            thread = threading.current_thread()
            here = Here(thread, "thread", thread.name, None)
        if here.backend is not None and self.in_body and self.backend is None:
            self.backend = here.backend
        return self.strand_for(here)

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
        with self._lock:
            live = self._live.get(here.key)
            if live is not None:
                return live
            strand = Strand(
                id=len(self._strands) + 1,
                kind=here.kind,
                name=here.name,
                pid=os.getpid(),
                thread=threading.get_ident(),
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

    def key_of(self, strand: int) -> object:
        """Return what stands for a strand: its task or thread; None where it is gone."""
        for key, live in tuple(self._live.items()):
            if live.strand.id == strand:
                return key
        return None

    # Spans

    def begin(self, name: str, *, caller: FrameType | None = None, place: Place | None = None) -> LiveSpan:
        """Open a span on the strand that runs here."""
        strand = self.here()
        span = Span(
            id=0,
            strand=strand.strand.id,
            name=name,
            first=next_number(),
            start=self.now(),
            caller=callers(caller) if caller is not None else (),
            again=_again(strand, caller),
            place=place,
        )
        with self._lock:
            live = LiveSpan(replace(span, id=len(self._spans) + 1), strand)
            self._spans.append(live)
            self._open[live.span.id] = live
        self._tell_of(live)
        if self.clocks is not None:
            self.clocks.began(live)
        return live

    def let_in(self, live: LiveSpan) -> None:
        """Say that a call which was held at its start begins with its work now."""
        if self.clocks is not None:
            self.clocks.let_in(live)
        live.span = replace(live.span, let_in=self.now())

    def done(self, live: LiveSpan, outcome: Outcome) -> None:
        """Say that the work of a span has ended, though the call may still be held."""
        if self.clocks is not None:
            self.clocks.ended(live)
        live.span = replace(live.span, done=next_number(), done_time=self.now(), outcome=outcome)
        self._tell_of(live)

    def end(self, live: LiveSpan) -> None:
        """Close a span."""
        with self._lock:
            self._open.pop(live.span.id, None)
        live.span = replace(live.span, last=next_number(), end=self.now())
        self._tell_of(live)

    def _tell_of(self, live: LiveSpan) -> None:
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
            cores=free_cores() if self.clocks is not None else None,
            gil=has_gil() if self.clocks is not None else None,
            watched=dict(self.watched),
        )


def _again(strand: LiveStrand, caller: FrameType | None) -> Place | None:
    """Return the line that makes this call and made the held one before it (see `Span.again`)."""
    if not strand.chain:
        return None
    if caller is not None and caller.f_code.co_flags & CO_ASYNC_GENERATOR:
        # It lives on between the calls that it makes, but what awaits it cannot be followed into it.
        return None
    return innermost_alive(strand.chain)
