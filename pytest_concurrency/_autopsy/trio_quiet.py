"""Is it proven that a trio run will wait for ever? Asked when it is about to: no deadline, no socket, no worker."""

from __future__ import annotations

import _thread
import functools
import sys
from typing import TYPE_CHECKING, Any

import trio
from trio._core import _run

from .._patching import patched
from .._places import outward
from .._record.awaiting import frames_of, suspension
from .quiet import ENOUGH, Deadlocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import ExitStack

    from .quiet import Watch

_FOR_EVER = 3600
_MOVES = frozenset({"io", "worker", "timer"})
_MOST, _PAUSE = 40, 0.005
"""So many looks are taken in one wait, so long apart in seconds."""


def watch(undo: ExitStack, watch: Watch) -> None:
    """End the run of the test's body where *watch* proves that nothing can happen any more."""
    instrument = _Instrument(watch)

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def setup(clock: Any, instruments: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
            return original(clock, [*instruments, instrument], *args, **kwargs)

        return setup

    undo.enter_context(patched(_run, "setup_runner", make))


class _Instrument(trio.abc.Instrument):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._quiet = 0
        self._looks = 0
        self._woken = False
        self._pause = _thread.allocate_lock()
        self._pause.acquire()

    def before_io_wait(self, timeout: float) -> None:
        if timeout < _FOR_EVER or not self._watch.is_here():
            return
        runner = _run.GLOBAL_RUN_CONTEXT.runner
        if not self._woken:
            self._quiet = self._looks = 0
        self._woken = False
        if (runner.is_guest and not _has_known_host()) or not _all_wait(runner):
            return
        self._looks += 1
        outside = self._watch.outside()
        self._quiet = self._quiet + 1 if outside == "quiet" else 0
        if self._quiet == ENOUGH:
            if self._watch.prove():
                # An error is not raised here: trio would take the instrument out, and go on.
                runner.entry_queue.run_sync_soon(_end, runner.main_task)
        elif self._looks < _MOST and outside != "moves":
            # Turn once more, and look again.
            self._woken = True
            self._pause.acquire(timeout=_PAUSE)
            runner.entry_queue.run_sync_soon(_nothing, idempotent=True)
        else:
            token = trio.lowlevel.current_trio_token()
            self._watch.look_again = lambda: token.run_sync_soon(_nothing, idempotent=True)


def _has_known_host() -> bool:
    """Tell whether a guest's host is anyio's test runner; any other host may bring something in at any time."""
    paths = (frame.f_code.co_filename.replace("\\", "/") for frame in outward(sys._getframe()))
    return any(path.endswith("anyio/_backends/_trio.py") for path in paths)


def _all_wait(runner: Any) -> bool:
    for task in runner.tasks:
        found = suspension(task.coro)
        if task._abort_func is None or (found.kind in _MOVES and not _is_trios_own(task)):
            return False
    return runner.main_task is not None


def _is_trios_own(task: Any) -> bool:
    """Tell whether a task lets other threads in: it waits for a descriptor of the run's own."""
    return any("_entry_queue" in frame.f_code.co_filename for _, frame in frames_of(task.coro))


def _nothing() -> None:
    pass


def _end(task: Any) -> None:
    def raise_cancel() -> Any:
        raise Deadlocked

    task._attempt_abort(raise_cancel)
