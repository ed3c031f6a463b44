"""Is it proven that the thread of a test's body waits for a lock for ever? Asked by one beside it."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .._frames import wait_until_gone
from .._originals import allocate_lock, start_new_thread, take_within
from .._record import kernel
from . import stranded
from .quiet import ENOUGH, Deadlocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .quiet import Watch

_FIRST, _PAUSE, _LONGEST = 0.1, 0.02, 0.25
"""Seconds between looks: until the first one, while all is quiet, and at most."""
_SIGNAL = getattr(signal, "SIGURG", None)
"""What takes the thread out of its wait: ignored by default, so that nobody is hurt by one that comes late."""
# Not on Windows, where no lookout is kept.
_send: Any = getattr(signal, "pthread_kill", None)

_running: weakref.WeakSet[Lookout] = weakref.WeakSet()
_stopped: weakref.WeakSet[Lookout] = weakref.WeakSet()
"""Those that a fork has ended."""


class Lookout:
    """Looks now and then whether the main thread waits for a lock, and whoever could release it cannot go on either."""

    def __init__(self, watch: Watch, beside: Callable[[], Callable[[], None]]) -> None:
        self._watch = watch
        self._beside = beside
        """Called before this thread waits, or is started; what it returns is to be called first when it goes on."""
        self._main = threading.main_thread()
        self._stop: Any = None
        self._ended: Any = None
        self._native = 0
        self._has_proof = False

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look until the block ends; `Deadlocked` is raised in it where nobody can go on any more."""
        if not self._can_look():
            yield
            return
        assert _SIGNAL is not None
        before = signal.signal(_SIGNAL, self._struck)
        self._start()
        try:
            yield
        finally:
            self.stop()
            if signal.getsignal(_SIGNAL) == self._struck:
                signal.signal(_SIGNAL, before)

    def _can_look(self) -> bool:
        """Tell whether the kernel says enough, and the signal is nobody else's."""
        return (
            kernel.TELLS
            and _SIGNAL is not None
            and _send is not None
            and threading.current_thread() is self._main
            and signal.getsignal(_SIGNAL) == signal.SIG_DFL
        )

    def _start(self) -> None:
        self._stop, self._ended = allocate_lock(), allocate_lock()
        self._stop.acquire()
        self._ended.acquire()
        _running.add(self)
        # Not a `threading.Thread`: tests that count those are not to find one of ours.
        start_new_thread(self._run, (self._stop, self._ended, self._beside()))

    def stop(self, *, until_gone: bool = False) -> None:
        """End the thread.

        Args:
            until_gone: Wait until the system, too, counts it no more.
        """
        stop, self._stop = self._stop, None
        _running.discard(self)
        if stop is not None:
            stop.release()
            take_within(self._ended, 5)
            if until_gone:
                wait_until_gone(self._native)

    def forget(self) -> None:
        """In a forked child there is no such thread, and nothing to be told by it."""
        self._stop = None
        assert _SIGNAL is not None
        if signal.getsignal(_SIGNAL) == self._struck:
            signal.signal(_SIGNAL, signal.SIG_DFL)

    def _run(self, stop: Any, ended: Any, goes_on: Callable[[], None]) -> None:
        quiet, pause = 0, _FIRST
        again, until = 0, 1
        try:
            goes_on()
            self._native = threading.get_native_id()
            while not self._waited(stop, _PAUSE if quiet else pause):
                if self._watch.look_again is not None:
                    # Now and then, and ever more seldom: a loop that is asked to look does not stand still.
                    again += 1
                    if again >= until:
                        again, until = 0, until * 2
                        self._ask()
                quiet = quiet + 1 if self._is_quiet() else 0
                pause = min(pause * 2, _LONGEST)
                if quiet == ENOUGH:
                    # And again where it then waits for the others to end, as an executor does when it is left.
                    quiet, pause, self._has_proof = 0, _FIRST, True
                    assert self._main.ident is not None
                    _send(self._main.ident, _SIGNAL)
        except Exception:
            # The test goes on as it would without us.
            return
        finally:
            ended.release()

    def _waited(self, stop: Any, pause: float) -> bool:
        """Wait for *pause* seconds, or until told to stop; tell which."""
        goes_on = self._beside()
        told: bool = stop.acquire(timeout=pause)
        goes_on()
        return told

    def _ask(self) -> None:
        look_again, self._watch.look_again = self._watch.look_again, None
        if look_again is not None:
            # The run may be over.
            with suppress(RuntimeError):
                look_again()

    def _is_quiet(self) -> bool:
        native = self._main.native_id
        seen = kernel.look(native) if native is not None else None
        # An event loop waits for its selector, and is asked by itself.
        return seen is not None and seen.for_ever and self._watch.outside(self._watch.view_from_beside) == "quiet"

    def _struck(self, number: int, frame: object) -> None:
        __tracebackhide__ = True
        # In the thread that waits, as any other stop from outside.
        if not self._has_proof:
            return
        self._has_proof = False
        if self._watch.found is not None or self._watch.prove():
            stranded.note()
            raise Deadlocked


def _before_fork() -> None:
    for each in tuple(_running):
        # For good: Python warns of a fork beside a running thread by the threads that are there after it.
        each.stop(until_gone=True)
        _stopped.add(each)


def _after_fork_in_child() -> None:
    for each in tuple(_stopped):
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
