"""One turn of an event loop: from when its selector comes back to when it is asked again.

Files that are opened in a turn are weighed when it ends, by the kernel's clocks. What a turn costs when nothing
happens in it is two looks at a clock.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Any

from .._imports import when_imported
from .._originals import thread_local
from .._patching import patched
from .clocks import between
from .lanes import Lane
from .loops import LOOP_THREADS, class_of
from .seams import BARE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from .clocks import Reading, ThreadClocks
    from .methods import Methods
    from .sampler import Sampler

    Weigh = Callable[["list[tuple[Any, float]]"], None]

_TRIO = "trio.run"
_HUB = "gevent.hub.Hub"


class Turn:
    """The present turn of the loop on one thread, and what is to be weighed when it ends."""

    __slots__ = ("_clocks", "_open", "_weigh", "_weighed", "pending", "watched")

    def __init__(self, clocks: ThreadClocks, weigh: Weigh) -> None:
        self._clocks = clocks
        self._weigh = weigh
        self._open: tuple[Any, Reading] | None = None
        self._weighed: list[tuple[Any, float]] = []
        self.pending = False
        """Something is to be weighed when the turn ends."""
        self.watched = 0
        """How many of the loops that run on this thread tell of their turns."""

    def mark(self, what: Any) -> None:
        """Begin to weigh *what*: it lasts until something else is heard of, or the end of the turn, at most."""
        self.pause()
        self.pending = True
        self._open = (what, self._clocks.read())

    def pause(self) -> None:
        """What was being weighed is over."""
        if self._open is not None:
            what, begun = self._open
            self._open = None
            self._weighed.append((what, between(begun, self._clocks.read()).outside))

    def add(self, what: Any, seconds: float) -> None:
        """Put to what was weighed in this turn something that has been measured already."""
        self.pending = True
        self._weighed.append((what, seconds))

    def close(self) -> None:
        """Weigh what was marked in this turn."""
        self.pause()
        self.pending = False
        if self._weighed:
            weighed, self._weighed = self._weighed, []
            self._weigh(weighed)


class Turns:
    """Knows when a turn of any loop in the program ends."""

    def __init__(
        self,
        clocks: ThreadClocks,
        clock: Callable[[], float],
        weigh: Weigh,
        on_late: Callable[..., None],
        sampler: Sampler,
        methods: Methods,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.is_on = True
        """Watch the loops that begin to run."""
        self._fail = on_failure
        self._clocks = clocks
        self._clock = clock
        self._weigh = weigh
        self._on_late = on_late
        self._sampler = sampler
        self.methods = methods
        self._local = thread_local()
        self._running = 0
        self.hubs: list[list[Any]] = []
        """The turns of gevent's hubs, by who watches them."""
        self._hub_seen = False
        self.on_loop: Callable[[], object] = lambda: None
        """Told of each loop that begins to run, in its thread."""
        self.on_lost: Callable[[], object] = lambda: None
        """Told when a library turns out to be one that cannot be watched."""
        self.seen = 0
        """How many loops have run since `begin_count`."""
        self.unwatched: set[str] = set()
        """The classes of loops that ran without telling of their turns."""

    def begin_count(self) -> None:
        """Forget the loops that were seen, but for those that still run."""
        self._hub_seen = False
        self.seen = self._running

    def hub_seen(self) -> None:
        """A hub of gevent's runs: there may be one all the time, but it counts where it does something."""
        if not self._hub_seen:
            self._hub_seen = True
            self.seen += 1
            if not self._clocks.knows_the_queue:
                self.unwatched.add(_HUB)
            self.on_loop()

    def settle(self) -> None:
        """End the turns of this thread's hub: its greenlets have done what they had to, and wait."""
        for hub in [each for hubs in self.hubs for each in hubs]:
            hub.settle()

    def enter_run(self, backend: str, loop: Any = None) -> Lane:
        """A loop begins to run on this thread."""
        self._running += 1
        self.seen += 1
        self.on_loop()
        lane = Lane(backend, loop, self._clocks, self._on_late)
        LOOP_THREADS[lane.thread] = LOOP_THREADS.get(lane.thread, 0) + 1
        if backend == "uvloop" and not self._clocks.knows_the_queue:
            # Its turns, as a hub's, begin where the sampler says so, which cannot read another thread's clocks here.
            self.unwatched.add(class_of(loop))
        self._sampler.add(lane)
        return lane

    def leave_run(self, lane: Lane) -> None:
        """A loop has ended."""
        self._running -= 1
        if lane.backend in ("asyncio", "trio") and not lane.began:
            # It has run, and never came by our wrapper of its selector, or our instrument was not told of its turns.
            self.seen -= 1
            self.unwatched.add(class_of(lane.loop) if lane.loop is not None else _TRIO)
        self._sampler.discard(lane)
        if lane.backend == "uvloop":
            # It does not tell of its turns: that something was seen of this one is known when the look is over.
            self._sampler.settle()
        lane.end(self._clock())
        LOOP_THREADS[lane.thread] -= 1
        if not LOOP_THREADS[lane.thread]:
            del LOOP_THREADS[lane.thread]

    def look_at(self, lane: Lane) -> None:
        """Let the sampler look at *lane*, which it may have given up."""
        self._sampler.add(lane)

    def discard(self, lane: Lane) -> None:
        """Look at *lane* no more."""
        self._sampler.discard(lane)

    @contextmanager
    def _entered(self, backend: str, loop: Any) -> Iterator[Lane | None]:
        """Watch a loop's run; where that fails, the loop runs all the same."""
        lane = None
        try:
            lane = self.enter_run(backend, loop)
        except Exception as error:
            self._fail(error)
        try:
            with self.methods.on_this_thread():
                yield lane
        finally:
            if lane is not None:
                try:
                    self.leave_run(lane)
                except Exception as error:
                    self._fail(error)

    def here(self) -> Turn:
        """Return the turn on this thread."""
        turn: Turn | None = getattr(self._local, "turn", None)
        if turn is None:
            turn = self._local.turn = Turn(self._clocks, self._weigh)
        return turn

    @property
    def weighing(self) -> bool:
        """Whether something is being weighed on this thread."""
        turn: Turn | None = getattr(self._local, "turn", None)
        return turn is not None and turn._open is not None

    def pause(self) -> None:
        """What was being weighed on this thread is over."""
        self.here().pause()

    def mark(self, what: Any, loop: Any) -> None:
        """Weigh *what* at the end of this turn; *loop* is the asyncio loop that runs here, if one does."""
        turn = self.here()
        if loop is not None and not turn.pending and not turn.watched:
            # No selector to see: a callback of our own in the next turn tells that this one has ended.
            loop.call_soon(turn.close)
        turn.mark(what)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch every loop that starts inside the `with` block."""
        with ExitStack() as undo:
            for library, watch in (
                ("asyncio", self._watch_asyncio),
                ("uvloop", self._watch_uvloop),
                ("trio", self._watch_trio),
                ("gevent", self._watch_gevent),
            ):
                enter = partial(_enter, undo, watch)
                undo.enter_context(when_imported(library, enter, on_failure=lambda error: self.on_lost()))
            yield

    @contextmanager
    def _watch_asyncio(self) -> Iterator[None]:
        from asyncio import BaseEventLoop

        def make(original: Callable[[Any], None]) -> Callable[[Any], None]:
            def run_forever(loop: Any) -> None:
                __tracebackhide__ = True
                if not self.is_on:
                    return original(loop)
                with self._entered("asyncio", loop) as lane:
                    selector: Any = getattr(loop, "_selector", None)
                    own = getattr(selector, "__dict__", None)
                    turn = self.here()
                    if own is None or lane is None:
                        original(loop)
                        turn.close()
                        return
                    # By hand and without a context manager: most tests run a loop several times, some do nothing else.
                    before = own.get("select")
                    select = own["select"] = self._selecting(selector.select, lane, turn)
                    turn.watched += 1
                    try:
                        original(loop)
                    finally:
                        turn.watched -= 1
                        # Somebody who has put theirs in its place meanwhile keeps it.
                        if own.get("select") is select:
                            if before is None:
                                del own["select"]
                            else:
                                own["select"] = before
                        turn.close()

            return run_forever

        with patched(BaseEventLoop, "run_forever", make, needed=True):
            yield

    def _selecting(self, original: Any, lane: Lane, turn: Turn) -> Callable[[float | None], Any]:
        bare = getattr(original, BARE, None)
        if bare is not None:
            original = MethodType(bare, original.__self__)
        clock, refresh, fail = self._clock, self.methods.refresh, self._fail

        def select(timeout: float | None = None) -> Any:
            try:
                if lane.marked:
                    lane.end(clock())
                else:
                    lane.began = 0.0
                if turn.pending:
                    turn.close()
            except Exception as error:
                fail(error)
            events = original(timeout)
            try:
                lane.began = now = clock()
                if now > lane.stale_at:
                    lane.refresh()
                    refresh()
            except Exception as error:
                fail(error)
            return events

        return select

    @contextmanager
    def _watch_uvloop(self) -> Iterator[None]:
        import uvloop

        def make(original: Callable[[Any], None]) -> Callable[[Any], None]:
            def run_forever(loop: Any) -> None:
                __tracebackhide__ = True
                if not self.is_on:
                    return original(loop)
                try:
                    with self._entered("uvloop", loop):
                        original(loop)
                finally:
                    self.here().close()

            return run_forever

        with patched(uvloop.Loop, "run_forever", make, needed=True):
            yield

    @contextmanager
    def _watch_gevent(self) -> Iterator[None]:
        from . import gevent_turns

        def make_lane(hub: Any) -> Lane:
            return Lane("gevent", None, self._clocks, self._on_late)

        with gevent_turns.watch(self, make_lane, self._clock):
            yield

    @contextmanager
    def _watch_trio(self) -> Iterator[None]:
        from trio._core import _run as run

        runs: dict[int, _TrioTurns] = {}

        def set_up(original: Callable[..., Any]) -> Callable[..., Any]:
            def setup_runner(clock: Any, instruments: Any, *args: Any, **kwargs: Any) -> Any:
                if not self.is_on:
                    return original(clock, instruments, *args, **kwargs)
                turns = _TrioTurns(self, self._clock)
                runner = original(clock, [*instruments, turns], *args, **kwargs)
                runs[id(runner)] = turns
                return runner

            return setup_runner

        def close(original: Callable[[Any], None]) -> Callable[[Any], None]:
            def close_runner(runner: Any) -> None:
                turns = runs.pop(id(runner), None)
                if turns is not None:
                    turns._finish()
                original(runner)

            return close_runner

        # The end of a run by its runner and not by the instrument: trio's own tests want `after_run` for themselves.
        with (
            patched(run, "setup_runner", set_up, needed=True),
            patched(run.Runner, "close", close, needed=True),
        ):
            yield


def _enter(undo: ExitStack, watch: Callable[[], AbstractContextManager[None]]) -> None:
    undo.enter_context(watch())


class _TrioTurns:
    """A trio instrument: a turn ends when trio waits for input and output.

    Only the hooks of an instrument are public here: trio takes every public method for one.
    """

    def __init__(self, turns: Turns, clock: Callable[[], float]) -> None:
        self._turns = turns
        self._clock = clock
        self._turn: Turn | None = None
        self._undo = ExitStack()
        self._lane: Lane | None = None

    def before_run(self) -> None:
        self._turn = self._turns.here()
        self._undo.enter_context(self._turns.methods.on_this_thread())
        self._lane = self._turns.enter_run("trio")

    def before_io_wait(self, timeout: float) -> None:
        lane, turn = self._lane, self._turn
        if lane is None or turn is None:
            return
        if lane.marked:
            lane.end(self._clock())
        else:
            lane.began = 0.0
        if turn.pending:
            turn.close()

    def after_io_wait(self, timeout: float) -> None:
        lane = self._lane
        if lane is not None:
            lane.began = now = self._clock()
            if now > lane.stale_at:
                lane.refresh()
                self._turns.methods.refresh()

    def _finish(self) -> None:
        """The run has ended."""
        self._undo.close()
        if self._turn is None or self._lane is None:
            self._turns.unwatched.add(_TRIO)
            return
        self._turn.close()
        self._turns.leave_run(self._lane)
