"""The object behind the fixture `concurrency` and behind `record()`."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from ._blocking.guard import Guard
from ._errors import BlockingError, ConcurrencyWarning, LeakError, OverlapError, ParallelismError
from ._judge import exclusion, overlap, parallelism
from ._judge import leaks as leak_judge
from ._judge.advice import advise
from ._judge.blocking import findings, seen
from ._judge.causes import cause_of
from ._leaks.owner import Owner
from ._leaks.owner import current as owners
from ._leaks.watch import Watch
from ._places import place_of
from ._record.targets import name_of
from ._record.watch import outcome_of
from ._session import Session
from ._settings import Blocking
from ._show import messages
from ._show.advice import advice_text
from ._show.blocks import failure_text
from ._show.leaks import failure_text as leak_text
from ._show.messages import Page
from ._show.parallelism import parallelism_message
from ._show.timeline import draw, parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._trace import Block, Leak, Span, Trace


_CLOCKS = 500
"""How often clocks are read for `assert_parallel`, which most tests do not call."""


@final
@dataclass(frozen=True, slots=True)
class RecordedSpan:
    """One stretch of watched work. Times are seconds from the start of the recording."""

    name: str
    strand: str
    start: float
    end: float | None
    """None while it is open."""
    running: float
    waiting: float
    blocked: float
    outcome: str
    """`returned`, `raised`, `cancelled`, `closed` or `open`."""


@final
class Concurrency:
    """What is being recorded: watch functions, mark stretches of work, ask what overlapped."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def watch(self, target: object, name: str | None = None) -> None:
        """Record every call of *target* as a span.

        Args:
            target: A function of any kind, or its name: `"shop.client:Client.fetch"`.
            name: What its spans are called; the target's own name by default.

        Raises:
            ValueError: The target cannot be imported or is not callable.
        """
        self._session.read_clocks(_CLOCKS, sparing=True)
        self._session.watch(target, name)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Record the `with` block as a span; good in sync and in async code."""
        recorder = self._session.recorder
        self._session.read_clocks(_CLOCKS, sparing=True)
        frame = sys._getframe(2)
        live = recorder.begin(name, caller=frame, place=place_of(frame))
        self._session.doors.entered(live)
        try:
            yield
        except GeneratorExit:
            recorder.done(live, "closed")
            raise
        except BaseException as error:
            recorder.done(live, outcome_of(error))
            raise
        else:
            recorder.done(live, "returned")
        finally:
            recorder.end(live)
            self._session.doors.left(live)

    def spans(self, name: object = None) -> tuple[RecordedSpan, ...]:
        """Return the spans so far, in the order in which they began; those of one name or target if it is given."""
        trace = self._session.trace()
        return tuple(_public(trace, span) for span in self._select(trace, name))

    def peak(self, name: object = None) -> int:
        """Return the most spans that were in progress at one instant, 0 when there are none."""
        trace = self._session.trace()
        return overlap.peak(trace, self._select(trace, name))

    def overlap(self, a: object, b: object) -> float:
        """Return for how many seconds a span of *a* and another one of *b* were in progress together."""
        trace = self._session.trace()
        first, second = self._select(trace, a), self._select(trace, b)
        shared = sorted(
            (max(one.start, other.start), min(_end(trace, one), _end(trace, other)))
            for one in first
            for other in second
            if one.id != other.id
        )
        # Each instant counts once, however many were in.
        seconds = reached = 0.0
        for start, end in shared:
            seconds += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return seconds

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What kept an event loop from running so far, without what may.

        Also what was too short to count: a file that was read in microseconds is here, and `assert_no_blocks` says
        nothing of it unless the kind `file` was asked for by name.
        """
        return seen(self._session.trace().blocks, self._session.blocking)

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """What would be left behind if the test ended here; threads and processes get a short while to end."""
        return self._session.find_leaks()

    @property
    def elapsed(self) -> float:
        """Seconds since the test's body began."""
        return self._session.seconds()

    def timeline(self) -> str:
        """Return a drawing of the spans so far, a line each."""
        trace, page = self._session.trace(), self._session.page
        return "\n".join(draw(trace, trace.spans, width=page.width, style=page.style))

    def advice(self) -> str:
        """Return which way of concurrency fits each kind of watched call, and what kept such calls apart.

        It rests on what was recorded: whether the calls compute or wait, how many there are at once, whether they start
        more of their kind, and whether there is a GIL. Empty where nothing was watched or called.
        """
        trace, page = self._session.trace(), self._session.page
        texts = []
        for name in dict.fromkeys(span.name for span in trace.spans):
            texts.append(page.wrapped(advice_text(trace, name, advise(trace, name))))
            asked = overlap.Overlap((name,), expectation=-1)
            verdict = overlap.judge(trace, asked)
            if verdict.status != "held" and (cause := cause_of(trace, verdict)) is not None:
                texts.append(page.wrapped(messages.explain(trace, cause, asked, page)))
        return "\n".join(texts)

    def assert_overlap(self, *targets: object, at_least: int = 2) -> None:
        """Fail unless calls of the targets were in progress at one instant, as `must_overlap` says, without holding.

        Raises:
            OverlapError: They were not.
        """
        __tracebackhide__ = True
        trace = self._session.trace()
        asked = overlap.Overlap(self._names(trace, targets), at_least, expectation=-1)
        verdict = overlap.judge(trace, asked)
        if verdict.status != "held":
            raise OverlapError(messages.overlap_message(trace, asked, verdict, self._session.page))

    def assert_no_overlap(self, *targets: object) -> None:
        """Fail if two calls of any of the targets were in progress together.

        Raises:
            OverlapError: They were.
        """
        __tracebackhide__ = True
        trace = self._session.trace()
        names = self._names(trace, targets)
        verdict = exclusion.judge(trace, names, -1)
        if verdict.status != "held":
            raise OverlapError(messages.exclusion_message(trace, names, verdict, self._session.page))

    def assert_no_blocks(self) -> None:
        """Fail if anything has blocked an event loop so far.

        Raises:
            BlockingError: Something has.
        """
        __tracebackhide__ = True
        found = findings(self._session.trace().blocks, self._session.blocking)
        if found:
            raise BlockingError(failure_text(found, self._session.page))

    def assert_no_leaks(self) -> None:
        """Fail if anything that was started so far is left behind.

        Raises:
            LeakError: Something is.
        """
        __tracebackhide__ = True
        found = leak_judge.findings(self.leaks, (), "")
        if found:
            raise LeakError(leak_text(found, self._session.page))

    def assert_parallel(self, *targets: object, at_least: int = 2) -> None:
        """Fail unless calls of the targets executed at the same time, as `must_run_in_parallel` says.

        Raises:
            ParallelismError: They did not.
        """
        __tracebackhide__ = True
        trace = self._session.trace()
        asked = parallelism.Parallel(self._names(trace, targets), at_least)
        verdict = parallelism.judge(trace, asked)
        if verdict.status != "held":
            raise ParallelismError(parallelism_message(trace, asked, verdict, self._session.page))

    def _names(self, trace: Trace, targets: tuple[object, ...]) -> tuple[str, ...]:
        names = tuple(trace.watched.get(name, name) for name in map(name_of, targets))
        known = {*trace.watched, *trace.watched.values(), *(span.name for span in trace.spans)}
        for name in names:
            if name not in known:
                seen = ", ".join(sorted(known)) or "nothing"
                raise ValueError(f"{name!r} is not watched: call concurrency.watch({name!r}) first (watched: {seen})")
        return names

    def _select(self, trace: Trace, name: object) -> tuple[Span, ...]:
        if name is None:
            return tuple(sorted(trace.spans, key=lambda span: span.first))
        return overlap.calls(trace, self._names(trace, (name,)))


@contextmanager
def record() -> Iterator[Concurrency]:
    """Record what runs inside the `with` block, outside pytest. Its texts name files relative to the current folder.

    Example:
        with pytest_concurrency.record() as concurrency:
            concurrency.watch("shop.client:fetch")
            asyncio.run(main())
        print(concurrency.timeline())
    """
    session = Session(page=Page(os.getcwd()))
    guard = Guard(Blocking(mode="off"), lambda problem: warnings.warn(ConcurrencyWarning(problem), stacklevel=2))
    guard.on_block = session.add_block
    guard.strand_here = lambda: session.recorder.here().strand.id
    guard.install()
    guard.observe = True
    session.start()
    try:
        with session.body(), _leaks_found(session):
            yield Concurrency(session)
    finally:
        session.stop()
        guard.remove()


@contextmanager
def _leaks_found(session: Session) -> Iterator[None]:
    """Watch what is started inside the `with` block, and at its end take down what of it is left."""
    owner = Owner()
    watch = Watch(lambda problem: warnings.warn(ConcurrencyWarning(problem), stacklevel=2))

    def left() -> tuple[Leak, ...]:
        watch.collect()
        session.leaks += [leak for leak in watch.take({owner}) if leak_judge.innocent(leak) is None]
        now = [each.leak for each in watch.left({owner}, lambda leak: leak_judge.innocent(leak) is None)]
        return (*session.leaks, *(leak for leak in now if leak_judge.innocent(leak) is None))

    watch.install()
    before = owners.set(owner)
    session.find_leaks = left
    try:
        yield
    finally:
        session.leaks = list(left())
        session.find_leaks = lambda: tuple(session.leaks)
        owners.reset(before)
        watch.remove()


def _end(trace: Trace, span: Span) -> float:
    return span.end if span.end is not None else trace.seconds


def _public(trace: Trace, span: Span) -> RecordedSpan:
    times = parts(trace, span)
    return RecordedSpan(
        span.name,
        trace.strand(span.strand).name,
        span.start,
        span.end,
        times.running,
        times.waiting,
        times.blocked,
        span.outcome,
    )
