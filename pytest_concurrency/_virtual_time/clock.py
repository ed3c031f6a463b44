"""The virtual clock of one test, as its user sees it."""

from __future__ import annotations

import math
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ClassVar, final

from .._imports import when_imported
from .._patching import patched
from . import patched_time, threads
from .timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NANOSECONDS = 1_000_000_000
_EXACT = 1_953_125
"""1/512 second, in nanoseconds."""
_monotonic_ns = time.monotonic_ns


@final
class VirtualClock:
    """Time that passes only while nothing else can happen, and then at once.

    When every task waits, the clock jumps to the next timer. It stands still while code runs and while real work is
    under way: a thread, a child process, a connection to another process. Should such work go on for a second with
    nothing coming in, or a loop not come to rest for a second, time runs on at the pace of real time.
    Descriptors that wait only for this process itself (listening sockets, both ends of a connection) hold nothing up.
    """

    # What it patches is the process's.
    _in_force: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._body_start = 0
        self._adopted: tuple[Any, float, int] | None = None
        self.patches_time = False
        """Whether the functions of `time` follow it."""

    @property
    def now(self) -> float:
        """The seconds that have passed on this clock since its start."""
        return self._now() / _NANOSECONDS

    @property
    def elapsed(self) -> float:
        """The seconds that have passed on this clock since the test's body began."""
        return (self._now() - self._body_start) / _NANOSECONDS

    def advance(self, seconds: float) -> None:
        """Move time forward by *seconds*, at once.

        All clocks show the new time when this returns. The timers that have come due fire after it, as soon as their
        loop has the thread again: one instant after the other, each when all that the one before it set in motion has
        come to rest. They all find the new time on the clock, so a timer that sets itself again from the time it finds
        fires once, where `await asyncio.sleep(seconds)` would let it fire every time.

        Raises:
            TypeError: *seconds* is not a number.
            ValueError: *seconds* is negative or not finite.
            RuntimeError: Trio runs on a clock that the test brought along, and that clock cannot jump.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"advance({seconds!r}): expected seconds as a number, such as 0.5")
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance({seconds!r}): expected finite seconds that are not negative, such as 0.5")
        if self._adopted is None:
            self._timeline.move(round(seconds * _NANOSECONDS))
            return
        clock = self._adopted[0]
        if not hasattr(clock, "jump"):
            raise RuntimeError(
                f"advance({seconds!r}): this trio run has a clock of its own, {type(clock).__qualname__}, "
                "which has no jump(). Advance that clock, or do not give the run one."
            )
        clock.jump(seconds)

    def on_standstill(self, told: Callable[[list[Any]], object], is_of_test: Callable[[Any], bool]) -> None:
        """Call *told* with all tasks when nobody can ever go on, before the test's own task is made to end.

        Args:
            told: Called in a thread in which a loop runs.
            is_of_test: Tells whether a coroutine is that of the test's own body. Where none is, the outermost task of
                the loop is meant.
        """
        self._timeline.at_standstill, self._timeline.is_of_test = told, is_of_test

    def start_body(self) -> None:
        """Count `elapsed` from here."""
        self._body_start = self._now()

    @contextmanager
    def install(self, *, patch_time: bool) -> Iterator[None]:
        """Put every asyncio loop and trio run on this clock that goes on, or is started, in the `with` block.

        Args:
            patch_time: Let the functions of `time` follow this clock too, and `time.sleep` wait for it.

        Raises:
            RuntimeError: A loop that cannot be put on virtual time runs here, or is told to run in the block; or
                another clock is installed.
        """
        if VirtualClock._in_force.locked():
            raise RuntimeError("a virtual clock is in force already: a process has one time, for one test at a time")
        self.patches_time = patch_time
        timeline = self._timeline
        # Rounded up to what a float shows exactly, so that whole seconds added to it are exact too.
        origin = -(-_monotonic_ns() // _EXACT) * _EXACT - timeline.now
        with VirtualClock._in_force, ExitStack() as undo:
            undo.callback(self._end)
            if patch_time:
                undo.enter_context(patched_time.install(timeline, origin))
            install = partial(self._install_asyncio, undo, origin * patch_time)
            undo.enter_context(when_imported("asyncio", install, strict=True))
            undo.enter_context(when_imported("trio", lambda: self._install_trio(undo)))
            for library in ("uvloop", "winloop"):
                undo.enter_context(when_imported(library, partial(self._refuse, undo, library), strict=True))
            timeline.strangers = threads.strangers()
            timeline.on = True
            try:
                yield
            finally:
                timeline.on = False

    def _end(self) -> None:
        self._timeline.now, self._adopted = self._now(), None

    def _install_asyncio(self, undo: ExitStack, origin: int) -> None:
        from . import asyncio as on_asyncio

        undo.enter_context(on_asyncio.install(self._timeline, origin / _NANOSECONDS))

    def _install_trio(self, undo: ExitStack) -> None:
        try:
            from . import trio as on_trio

            undo.enter_context(on_trio.install(self._timeline, self._adopt))
        except Exception as error:
            # Only a test that runs it is to hear of that.
            problem = str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"
            undo.enter_context(patched(sys.modules["trio"], "run", partial(_refusing, problem)))

    def _refuse(self, undo: ExitStack, library: str) -> None:
        from . import asyncio as on_asyncio

        loop = getattr(sys.modules[library], "Loop", None)
        if loop is not None:
            on_asyncio.refuse(self._timeline, undo, loop)

    def _adopt(self, clock: Any) -> None:
        """Follow *clock*, which a trio run was given, from now on."""
        self._adopted = (clock, clock.current_time(), self._now())

    def _now(self) -> int:
        if self._adopted is None:
            return self._timeline.now
        clock, start, base = self._adopted
        passed: float = clock.current_time() - start
        return base + round(passed * _NANOSECONDS)


def _refusing(problem: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(problem)

    return run
