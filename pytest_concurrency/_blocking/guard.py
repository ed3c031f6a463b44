"""The detector: hears of every call that can block, asks whether it is on a loop and whether it may, and reports it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from .._imports import when_imported
from .._originals import get_ident, thread_local
from .._sequence import next_number
from . import audit
from .clocks import ThreadClocks, between
from .early import sleep_announced
from .frames import Site, locate, module_of, started_at
from .garbage import collections_told_apart
from .imports import ImportTimer
from .kinds import CALLS, instead
from .loops import LIBRARIES, LOOP_THREADS, class_of, is_cooperative, running_backend, running_loop, running_task
from .methods import Methods
from .overdue import called, explain, where, written
from .policy import Policy, allowed_here, innocent, is_debugged, is_importing
from .sampler import Sampler
from .seams import installed
from .turns import Turns
from .waits import SEAMS, Maybe

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .._settings import Blocking
    from .._trace import Block
    from .clocks import Reading, Spent
    from .lanes import Lane
    from .methods import Method
    from .overdue import Sample
    from .waits import Seam

WEIGHED = frozenset({"file"})
"""Kinds whose calls have no end that is announced: weighed when the loop's turn ends."""
_BUILT_ON_OTHERS = frozenset({"queue", "join", "input", "database"})
_UNSEEN = 0.001
"""Seconds below which a weighed call is not worth a word, unless its kind was asked for by name."""

_LEAST_IMPORT = 0.005
"""Seconds below which an import is not worth a word, even where the kind was asked for by name: it happens once."""

_guards: list[Guard] = []
"""Those in force, the innermost last: a pytest run inside a pytest run has its own."""


_OTHER_ROOMS = tuple(
    f"pytest_concurrency.{room}" for room in ("_virtual_time", "_autopsy", "_leaks", "_record", "_folder")
)


class _Call(NamedTuple):
    """A call that has begun."""

    kind: str
    detail: str
    site: Site
    backend: str
    allowed: str | None
    strand: int | None
    task: str | None
    number: int
    start: float


class _Glance(NamedTuple):
    """A call that has begun, of which only its length will tell whether it is worth a look."""

    kind: str
    name: str
    detail: str
    begun: Reading
    awake: float
    """How long the sampler had been awake by then, in seconds."""
    least: float


class Guard:
    """Reports every call that blocks an event loop, in any thread, while it is installed."""

    def __init__(
        self, blocking: Blocking, on_failure: Callable[[str], None], clock: Callable[[], float] = perf_counter
    ) -> None:
        self.on_block: Callable[[Block], None] | None = None
        """Told of every block that is seen, in the thread where it happens; also of those that are allowed."""
        self.strand_here: Callable[[], int | None] | None = None
        self.on_loop: Callable[[], object] = lambda: None
        """Told of each loop that begins to run, or is found to run, in its thread."""
        self._on_failure = on_failure
        self._clock = clock
        self._clocks = ThreadClocks(clock)
        self._sampler = Sampler(self._clocks, clock, self._may, self._fail)
        self._methods = Methods(self._method, self._method_over, clock)
        self._turns = Turns(self._clocks, clock, self._weigh, self._late, self._sampler, self._methods, self._fail)
        self._turns.on_loop = self._loop_runs
        # Its loops will not tell that they run.
        self._turns.on_lost = lambda: self.on_loop()
        self._has_met_a_loop = False
        self._awaiting_a_loop: list[Seam] = []
        self._imports = ImportTimer()
        self._local = thread_local()
        self._undo = ExitStack()
        self._armed = False
        self._checked = False
        self._broken = False
        self._observe = False
        self._policy = Policy(blocking)
        self._active = False

    @property
    def policy(self) -> Policy:
        """What is allowed now, and what happens to the rest."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self._policy = policy
        self._switch()

    @property
    def is_on(self) -> bool:
        """Whether loops that begin to run are watched; where nobody will ask, they need not be."""
        return self._turns.is_on

    @is_on.setter
    def is_on(self, is_on: bool) -> None:
        self._turns.is_on = is_on

    @property
    def observe(self) -> bool:
        """Report what blocks even where the policy's mode is `off`: a recording wants to know."""
        return self._observe

    @observe.setter
    def observe(self, observe: bool) -> None:
        self._observe = observe
        self._switch()

    def install(self) -> None:
        """Begin to listen, over the guard in force until now; most of it waits until there is an event loop library."""
        before = _guards[-1] if _guards else None
        _guards.append(self)
        if before is not None:
            before._switch()
        try:
            self._undo.enter_context(sleep_announced())
            for library in LIBRARIES:
                self._undo.enter_context(when_imported(library, self._arm))
        except Exception as error:
            self._fail(error)
        self._switch()

    def remove(self) -> None:
        """Undo all that was installed, and give way to the guard that was in force before."""
        # What it has just seen counts.
        self._sampler.stop()
        if self in _guards:
            _guards.remove(self)
        self._active = False
        self._imports.stop()
        self._methods.stop()
        self._undo.close()
        self._awaiting_a_loop.clear()
        self._has_met_a_loop = False
        self._armed = False
        audit.listen(None)
        if _guards:
            _guards[-1]._switch()

    def begin_count(self) -> None:
        """Forget the loops that were seen so far; those that run at this moment are seen again."""
        self._turns.begin_count()

    def settle(self) -> None:
        """Report what has been seen by now, and of a turn that has no end of its own, as that of a hub."""
        if self._active:
            self._safely(self._turns.settle)
            self._safely(self._sampler.settle)

    def beside(self) -> Callable[[], None]:
        """Hear of another thread of ours that is about to wait; see `Sampler.beside`."""
        return self._sampler.beside()

    @property
    def loops_seen(self) -> int:
        """How many loops have run since `begin_count`."""
        return self._turns.seen

    @property
    def unwatched(self) -> set[str]:
        """The classes of loops that ran and could not be watched."""
        return self._turns.unwatched

    def _arm(self) -> None:
        if self._armed:
            return
        self._armed = True
        try:
            self._undo.enter_context(self._turns.watch())
            self._undo.enter_context(collections_told_apart(self._sampler, self._safely))
            for seam in SEAMS:
                self._undo.enter_context(when_imported(seam.module, partial(self._put_in, seam)))
        except Exception as error:
            self._fail(error)
        self._switch()

    def _put_in(self, seam: Seam) -> None:
        # A function may be imported by its name before any loop runs. A method is looked up at each call: a program
        # that runs no loop is to pay nothing for its messages.
        is_method = "." in seam.attribute
        if is_method and not self._has_met_a_loop:
            self._awaiting_a_loop.append(seam)
        # What gevent has put in a method's place waits in the hub; to ask it whether it would is to wait.
        elif not (is_method and is_cooperative(seam.call)):
            self._undo.enter_context(installed(seam, self._enter, self._leave))

    def _loop_runs(self) -> None:
        if not self._has_met_a_loop:
            self._has_met_a_loop = True
            # What a look needs is there before the first one: importing it lets go of the GIL, and the turn is over.
            from .. import _trace as _trace

            self._safely(self._put_in_what_awaits)
        self.on_loop()

    def _put_in_what_awaits(self) -> None:
        while self._awaiting_a_loop:
            self._put_in(self._awaiting_a_loop.pop())

    def _switch(self) -> None:
        """Listen where there is something to listen for and somebody to tell."""
        in_force = bool(_guards) and _guards[-1] is self
        wanted = self._observe or self._policy.blocking.mode != "off"
        self._active = in_force and wanted and self._armed and not self._broken
        if in_force:
            if self._active and not self._checked:
                self._checked = True
                if not audit.hears_sleep():
                    self._fail(RuntimeError("this Python does not tell of time.sleep as expected"))
                    return
            audit.listen(self._audited if self._active else None)
        self._methods.switch(
            files=self._active and self._every_file, database=self._active and self._is_asked("database")
        )

    @property
    def _every_file(self) -> bool:
        """Whether files are of interest that are read in microseconds."""
        blocking = self._policy.blocking
        return self._observe or bool(WEIGHED & (blocking.kinds - blocking.past_threshold))

    def _is_asked(self, kind: str) -> bool:
        return self._observe or kind in self._policy.blocking.kinds

    def _fail(self, error: BaseException) -> None:
        # Our own mistake must not become the user's: from here on nothing is watched, and that is said. That the
        # program's stack is full is no mistake of ours, and no more than this call is lost.
        if self._broken or isinstance(error, RecursionError):
            return
        self._broken = True
        self._active = False
        if _guards and _guards[-1] is self:
            audit.listen(None)
        self._on_failure(f"the blocking detector failed and has switched itself off: {type(error).__name__}: {error}")

    # What it hears

    def _audited(self, event: str, args: tuple[Any, ...]) -> None:
        __tracebackhide__ = True
        backend = running_backend()
        if backend is None or not self._active:
            return
        if backend == "gevent":
            # Nobody else stands for a turn of the hub's: a file is weighed where the sampler finds that it takes long.
            if audit.EVENTS[event].kind == "file":
                return
        elif get_ident() not in LOOP_THREADS and backend != "trio":
            self._turns.unwatched.add(class_of(running_loop()))
            self._loop_runs()
        known = audit.EVENTS[event]
        if self._turns.weighing:
            self._safely(self._turns.pause)
        if known.kind in ("import", "file") and self._imports.importing:
            return
        try:
            detail = known.describe(args)
        except Exception:
            # Called in a way that the call itself will complain about.
            detail = None
        if detail is None:
            return
        # This method and the hook that called it are not the caller.
        frame = sys._getframe(1).f_back
        # What this plugin itself looks at, in the middle of a loop, is no part of a turn: weighing it asks for another.
        if known.kind == "file" and frame is not None and module_of(frame).startswith(_OTHER_ROOMS):
            return
        call = self._begun(known.kind, known.call, detail, backend, frame)
        if call is None:
            return
        self._stop_if_asked(call)
        if known.kind == "import":
            self._safely(partial(self._time_import, call))
        elif known.kind in WEIGHED:
            self._safely(partial(self._turns.mark, call, running_loop() if backend != "trio" else None))
        else:
            self._safely(partial(self._report, call, float(args[0]) if event == "time.sleep" else None))

    def _enter(self, kind: str, name: str, detail: str) -> _Call | _Glance | None:
        """Hear of a wrapped call that can wait; what is returned is given to `_leave` when it is over."""
        __tracebackhide__ = True
        backend = running_backend()
        # A wrapped call inside a wrapped call is part of it.
        if not self._active or backend is None or getattr(self._local, "inside", False):
            return None
        if kind in (*WEIGHED, "import") and self._imports.importing:
            return None
        if backend == "gevent" and is_cooperative(name):
            return None
        kind = getattr(detail, "kind", kind)
        if self._turns.weighing:
            self._safely(self._turns.pause)
        if kind == "import" or isinstance(detail, Maybe) or (kind in WEIGHED and not self._every_file):
            return self._glance(kind, name, detail)
        # This method and the wrapper that called it are not the caller; a builtin's wrapper is two.
        call = self._begun(kind, name, detail, backend, sys._getframe(1).f_back)
        if call is not None:
            self._stop_if_asked(call)
            self._local.inside = True
        return call

    def _glance(self, kind: str, name: str, detail: str) -> _Glance | None:
        least = _LEAST_IMPORT if kind == "import" else getattr(detail, "least", _UNSEEN)
        try:
            glance = _Glance(kind, name, detail, self._clocks.read(), self._sampler.awake(), least)
        except Exception as error:
            self._fail(error)
            return None
        if kind == "import":
            self._imports.enter()
        else:
            self._local.inside = True
        return glance

    def _leave(self, call: _Call | _Glance) -> None:
        if call.kind == "import":
            self._imports.leave()
        else:
            self._local.inside = False
        if isinstance(call, _Call):
            seconds = self._clock() - call.start
            if call.kind in WEIGHED:
                self._safely(lambda: self._turns.here().add(call, seconds))
            else:
                self._safely(lambda: self._report(call, seconds))
            return
        try:
            spent = between(call.begun, self._clocks.read())
        except Exception as error:
            self._fail(error)
            return
        # Not by wall time: whoever was kept from running, by the machine or by the GIL, did not wait for this call.
        seconds = _weight(call.kind, spent, told=self._clocks.knows_the_queue)
        # Only where nothing but waiting counts: while an import computes, the sampler is awake and waits for the GIL.
        kept = self._sampler.awake() - call.awake if call.kind not in (*WEIGHED, "import") else 0.0
        # Where nobody tells how long it was kept from running, a wait has to be longer than that ever takes.
        least = call.least if self._clocks.knows_the_queue else max(call.least, self._policy.blocking.threshold)
        if seconds - kept >= least and (backend := running_backend()) is not None:
            seen = self._begun(call.kind, call.name, call.detail, backend, sys._getframe(1).f_back)
            if seen is not None:
                seen = seen._replace(start=call.begun.wall)
                if call.kind in WEIGHED:
                    self._safely(lambda: self._turns.here().add(seen, seconds))
                else:
                    self._safely(lambda: self._report(seen, seconds))

    def _method(self, method: Method, frame: FrameType) -> None:
        """Hear of a method of a type written in C, in the place of which an exception may be raised."""
        __tracebackhide__ = True
        backend = running_backend()
        if not self._active or backend is None or getattr(self._local, "inside", False) or self._imports.importing:
            return
        call = self._begun(method.kind, method.call, method.detail, backend, frame)
        if call is not None:
            self._stop_if_asked(call)
            self._safely(partial(self._turns.mark, call, running_loop() if backend != "trio" else None))

    def _method_over(self) -> None:
        if self._turns.weighing:
            self._safely(self._turns.pause)

    def _begun(self, kind: str, name: str, detail: str, backend: str, frame: FrameType | None) -> _Call | None:
        try:
            return self._begin(kind, name, detail, backend, frame)
        except Exception as error:
            self._fail(error)
            return None

    def _time_import(self, call: _Call) -> None:
        self._imports.time(partial(self._imported, call, self._clocks.read()))

    def _imported(self, call: _Call, begun: Any) -> None:
        spent = between(begun, self._clocks.read())
        seconds = _weight("import", spent, told=self._clocks.knows_the_queue)
        if seconds >= _LEAST_IMPORT:
            self._safely(lambda: self._report(call, seconds))

    def _weigh(self, weighed: list[tuple[_Call, float]]) -> None:
        self._safely(partial(self._report_weighed, weighed))

    # What it makes of it

    def _begin(self, kind: str, name: str, detail: str, backend: str, frame: FrameType | None) -> _Call | None:
        """Return the call if it blocks a loop and is not innocent."""
        policy = self._policy
        if getattr(self._local, "busy", False) or not (self._observe or kind in policy.blocking.kinds):
            return None
        self._local.busy = True
        try:
            site = locate(frame, name)
            if backend == "gevent":
                site = started_at(site, name)
            if site is None or innocent(kind, site.inner) is not None or is_debugged(site.step):
                return None
            # From 3.15 on the event comes from inside the import system's first function.
            if kind == "import" and is_importing(site.step[1:]):
                return None
            # What waits inside is a lock or a pipe; what the user's line called is a queue, a thread, a driver.
            outer = CALLS.get(site.call, kind)
            if outer in _BUILT_ON_OTHERS:
                kind = outer
            return _Call(
                kind=kind,
                detail=detail,
                site=site,
                backend=backend,
                allowed=policy.allowed(site, name, allowed_here()),
                strand=self.strand_here() if self.strand_here is not None else None,
                task=running_task(backend),
                number=next_number(),
                start=self._clock(),
            )
        finally:
            self._local.busy = False

    def _stop_if_asked(self, call: _Call) -> None:
        __tracebackhide__ = True
        blocking = self._policy.blocking
        if (
            blocking.mode == "raise"
            and call.allowed is None
            and call.kind in blocking.kinds - blocking.past_threshold - {"import"}
            # A module that is only half executed would stay behind.
            and not is_importing(call.site.step)
        ):
            self._safely(partial(self._report, call, None))
            _raise(call)

    def _report_weighed(self, weighed: list[tuple[_Call, float]]) -> None:
        past = self._policy.blocking.past_threshold
        sums: dict[tuple[object, ...], tuple[_Call, float]] = {}
        for call, spent in weighed:
            key = (call.site.place, call.site.call, call.kind, call.allowed, call.strand)
            first, seconds = sums.get(key, (call, 0.0))
            sums[key] = (first, seconds + spent)
        for call, seconds in sums.values():
            if seconds >= _UNSEEN or call.kind not in past or self._observe:
                self._report(call, seconds)

    def _report(self, call: _Call, seconds: float | None) -> None:
        if self.on_block is None or not self._active:
            return
        blocking = self._policy.blocking
        long_enough = seconds is not None and seconds >= blocking.threshold
        lane = self._sampler.here()
        if lane is not None:
            lane.account(call.kind, seconds)
        from .._trace import Block

        block = Block(
            kind=call.kind,
            call=call.site.call,
            place=call.site.place,
            seconds=seconds,
            backend=call.backend,
            stack=call.site.stack,
            strand=call.strand,
            task=call.task,
            detail=call.detail,
            allowed=call.allowed,
            hinders=long_enough or call.kind not in blocking.past_threshold,
            first=call.number,
            last=next_number(),
            start=call.start,
            end=call.start + (seconds or 0.0),
        )
        self.on_block(block)

    def _may(self, site: Site, call: str) -> str | None:
        return self._policy.allowed(site, call)

    def _late(self, lane: Lane, spent: Spent, samples: list[Sample], known: float, known_open: frozenset[str]) -> None:
        if self._active:
            self._safely(partial(self._report_late, lane, spent, samples, known, known_open))

    def _report_late(
        self, lane: Lane, spent: Spent, samples: list[Sample], known: float, known_open: frozenset[str]
    ) -> None:
        if self.on_block is None:
            return
        now = self._clock()
        for late in explain(
            spent, samples, known, known_open, self._policy.blocking.threshold, told=lane.running is None
        ):
            from .._trace import Block

            sample = late.sample
            number = next_number()
            expression = written(sample.span)
            self.on_block(
                Block(
                    kind=late.kind,
                    call=sample.site.call or called(expression) or sample.site.place.function,
                    place=sample.site.place,
                    seconds=late.seconds,
                    backend=lane.backend,
                    stack=sample.site.stack,
                    task=sample.task,
                    detail=(where(samples) if late.kind == "cpu" else "") or expression,
                    allowed=sample.allowed,
                    first=number,
                    last=next_number(),
                    start=now - late.seconds,
                    end=now,
                )
            )

    def _safely(self, do: Callable[[], None]) -> None:
        """Do what may go wrong, and what may itself make calls that are heard of."""
        busy = getattr(self._local, "busy", False)
        self._local.busy = True
        try:
            do()
        except Exception as error:
            self._fail(error)
        finally:
            self._local.busy = busy


def _weight(kind: str, spent: Spent, *, told: bool) -> float:
    if kind == "import":
        return spent.own if told else spent.cpu
    return spent.outside if kind in WEIGHED else spent.waited


def _raise(call: _Call) -> NoReturn:
    __tracebackhide__ = True
    from .._errors import BlockingCallError

    advice = instead(call.site.call, call.kind, call.backend)
    use = f"; use {advice}" if advice else ""
    shown = f"{call.site.call} ({call.detail})" if call.detail else call.site.call
    raise BlockingCallError(f"{shown} would block the {call.backend} event loop{use}")
