"""Calls of tornado's generator coroutines, which run in no task, and its locks and queues.

Tornado runs every step of such a call in a context of the call's own. What is put there when the call begins says, at
any later step, whose step it is.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from tornado import locks, queues

from .._patching import patched
from .._places import callers
from .._sequence import next_number
from .._trace import Use
from .recorder import Here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from .._trace import Outcome, Place
    from .recorder import LiveSpan, LiveStrand, Recorder
    from .watch import Calls


class _Flow:
    """One call of a generator coroutine."""

    def __init__(self, number: int) -> None:
        self.name = f"coroutine-{number}"
        self.task = asyncio.current_task()
        """Whose step the first step is part of; the later ones are callbacks."""


_flow: ContextVar[_Flow | None] = ContextVar("pytest_concurrency_tornado", default=None)
_count = itertools.count(1)


@contextmanager
def record(recorder: Recorder) -> Iterator[None]:
    """Tell *recorder* which call of a watched generator coroutine runs, for the length of the `with` block."""
    with ExitStack() as undo:
        recorder.locators.insert(0, _locate)
        undo.callback(recorder.locators.remove, _locate)
        _note_futures(undo, recorder, locks.Lock, "lock", takes="acquire", gives="release")
        _note_futures(undo, recorder, locks.Semaphore, "semaphore", takes="acquire", gives="release")
        _note_futures(undo, recorder, queues.Queue, "queue", takes="get")
        yield


def _locate() -> Here | None:
    flow = _flow.get()
    if flow is None:
        return None
    loop = asyncio._get_running_loop()
    if loop is None:
        return None
    task = asyncio.current_task(loop)
    # A task that was started by the call has a copy of its context, and is somebody else.
    return Here(flow, "tornado-coroutine", flow.name, "asyncio") if task is None or task is flow.task else None


def call(calls: Calls, recorder: Recorder, args: Any, kwargs: Any, caller: FrameType | None) -> Any:
    """Make a call that lasts until the future which it returns is done, on a strand of its own."""
    loop = asyncio._get_running_loop()
    if loop is None:
        return calls.original(*args, **kwargs)
    parent = recorder.here()
    flow = _Flow(next(_count))
    token = _flow.set(flow)
    try:
        with recorder.creating(parent, root=False, caller=caller):
            strand = recorder.strand_for(Here(flow, "tornado-coroutine", flow.name, "asyncio"))
        live = calls.begin(caller)
        future = calls.original(*args, **kwargs)
    finally:
        _flow.reset(token)
    if not calls.may_be_held(live):
        # The caller gets the very future, which may be done already.
        ended = functools.partial(_ended, calls, recorder, live)
        if future.done():
            ended(future)
        else:
            future.add_done_callback(ended)
        return future
    # The task waits in the call's place, and at the door.
    with recorder.in_place_of(strand):
        return loop.create_task(calls.awaited(live, future), name=flow.name)


def _ended(calls: Calls, recorder: Recorder, live: LiveSpan, future: Any) -> None:
    # Not `future.exception()`: whoever never asks for it is to be told so.
    error = getattr(future, "_exception", None)
    outcome: Outcome = "cancelled" if future.cancelled() else "raised" if error is not None else "returned"
    recorder.done(live, outcome)
    calls.end(live)
    recorder.end_strand(live.strand)


def _line(frame: FrameType | None) -> Place | None:
    return next(iter(callers(frame, 1)), None)


def _note_futures(
    undo: ExitStack, recorder: Recorder, cls: Any, kind: str, *, takes: str, gives: str | None = None
) -> None:
    """Take down when the futures that the method *takes* returns are done, and the calls of *gives*."""

    def note(by: LiveStrand, action: Literal["took", "gave"], resource: Any, place: Place | None) -> None:
        recorder.add_use(Use(by.strand.id, action, kind, id(resource), next_number(), place))

    def take(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def take(self: Any, *args: Any, **kwargs: Any) -> Any:
            # Whoever is woken by the future runs in a callback of its own.
            by, place = recorder.here(), _line(sys._getframe(1))
            future = original(self, *args, **kwargs)

            def taken(done: Any) -> None:
                if not done.cancelled() and done.exception() is None:
                    note(by, "took", self, place)

            if future.done():
                taken(future)
            else:
                future.add_done_callback(taken)
            return future

        return take

    def give(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def give(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            note(recorder.here(), "gave", self, _line(sys._getframe(1)))
            return result

        return give

    undo.enter_context(patched(cls, takes, take))
    if gives is not None:
        undo.enter_context(patched(cls, gives, give))
