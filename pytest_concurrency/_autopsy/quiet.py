"""Is it proven that nothing can happen any more? What every event loop has to ask, besides what it knows of itself."""

from __future__ import annotations

import os
import signal
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from .._frames import current_frames
from .._originals import get_ident
from .._record import kernel
from .._record.recorder import Recorder
from .._record.thread_view import ThreadView

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._hang import Hang

ENOUGH = 3
"""So many quiet looks in a row are a proof."""
_FAR = 1e9


class Deadlocked(BaseException):
    """Ends a test's event loop; never seen by the user."""


class Watch:
    """Ends the body of a test in which nobody can go on any more."""

    def __init__(self, look: Callable[[], Hang]) -> None:
        self._look = look
        self._view = ThreadView(Recorder())
        self.view_from_beside = ThreadView(Recorder())
        """For a thread that asks beside the one that runs the test's body."""
        self._pid = os.getpid()
        self.on = False
        """The test's body runs."""
        self.found: Hang | None = None
        """Who waited for whom when it was proven."""
        self.look_again: Callable[[], None] | None = None
        """Makes a loop ask once more, which has given up for now: set by it, called from beside."""

    def is_here(self) -> bool:
        """Tell whether this thread is the one that runs the test's body, and nothing has been proven yet."""
        return (
            self.on
            and self.found is None
            and threading.current_thread() is threading.main_thread()
            and os.getpid() == self._pid
        )

    def outside(self, view: ThreadView | None = None) -> Literal["quiet", "busy", "moves"]:
        """Tell whether no other thread, no process and no signal can bring anything in.

        A look at the threads of a process is not one instant: only what is quiet three times in a row is to be
        believed, and busy is what may only have looked so. Where the kernel says nothing of threads, nothing is proven.

        Args:
            view: What this thread has seen so far, where it is not the one that runs the test's body.
        """
        if not kernel.TELLS or _handlers():
            return "moves"
        if len(kernel.threads()) > len(current_frames()) or _somebody_runs():
            return "busy"
        now = perf_counter()
        survey = (view or self._view).survey([get_ident()], now, now + _FAR, of_all=True)
        if survey.outside or survey.timers.soon:
            return "moves"
        return "busy" if survey.busy else "quiet"

    def prove(self) -> bool:
        """Note who waits for whom, since it is proven that nobody can go on; tell whether that could be found out."""
        try:
            self.found = self._look()
        except Exception:
            # The test goes on as it would without us.
            self.on = False
        return self.found is not None


def _somebody_runs() -> bool:
    """Tell whether any other thread wants to run, whoever it belongs to: it may hold what others wait for.

    One that Python does not know is a library's, and waits for something that only it knows, or is about to begin.
    """
    own = threading.get_native_id()
    looks = [kernel.look(native_id) for native_id in kernel.threads() if native_id != own]
    return any(look is not None and not look.sleeps for look in looks)


def _handlers() -> list[Any]:
    """Return the program's own signal handlers: a signal may come at any time."""
    found = []
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        module = str(getattr(handler, "__module__", ""))
        # Ctrl-C is nothing that a program waits for, and a time-out is not to be waited for.
        known = number == signal.SIGINT or module == "pytest_timeout" or module.startswith("pytest_concurrency")
        if callable(handler) and not isinstance(handler, signal.Handlers) and not known:
            found.append(handler)
    return found
