"""Strands and steps of gevent's greenlets. The outermost greenlet of a thread is that thread."""

from __future__ import annotations

import sys
import weakref
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from gevent import Greenlet
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub
from greenlet import getcurrent, gettrace, settrace

from .._originals import thread_local
from .._sequence import next_number
from .._trace import Step, Use
from .gevent_gate import HubGates
from .gevent_view import queue_read_in
from .recorder import Here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from .door import Doors
    from .recorder import LiveStrand, Recorder

_POOL_THREAD = "gevent.threadpool"
_MOST_CALLS = 100
"""Calls of one greenlet that are looked at: what is done a hundred times is done the same way."""


@contextmanager
def record(recorder: Recorder, doors: Doors) -> Iterator[None]:
    """Tell *recorder* of every greenlet, and give *doors* a gate in every hub, for the length of the `with` block."""
    watcher = _Watcher(recorder)
    gates = HubGates(doors)
    with ExitStack() as undo:
        recorder.locators.append(watcher.locate)
        undo.callback(recorder.locators.remove, watcher.locate)
        recorder.callers.append(watcher.calls)
        undo.callback(recorder.callers.remove, watcher.calls)
        doors.plain_gates.insert(0, gates)
        undo.callback(doors.plain_gates.remove, gates)
        undo.callback(watcher.stop)
        Greenlet.add_spawn_callback(watcher.spawned)
        undo.callback(Greenlet.remove_spawn_callback, watcher.spawned)
        yield


class _Watcher:
    """Writes down when greenlets start, step and end."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        # In each thread, when the step began that runs there.
        self._step = thread_local()
        self._calls: weakref.WeakKeyDictionary[LiveStrand, int] = weakref.WeakKeyDictionary()
        self._stopped = False
        # One object, to be known again.
        self._tracer = self._switched
        self._asyncio = sys.modules.get("_asyncio")

    def stop(self) -> None:
        # In another thread the tracer stays until its next step: only there can it be taken out.
        self._stopped = True
        self._take_out()

    def _take_out(self) -> None:
        # Somebody who came after us may be calling us: theirs stays.
        if gettrace() is self._tracer:
            settrace(None)

    def locate(self) -> Here | None:
        current = getcurrent()
        if current.parent is None or _is_pool_thread(current) or get_hub_if_exists() is None:
            return None
        if self._runs_asyncio():
            # Its tasks may use greenlets for ends of their own.
            return None
        if isinstance(current, Hub):
            return Here(current, "callback", "hub callbacks", "gevent")
        return self._here_of(current)

    def _runs_asyncio(self) -> bool:
        module = self._asyncio = self._asyncio or sys.modules.get("_asyncio")
        return module is not None and module._get_running_loop() is not None

    def _here_of(self, greenlet: Any) -> Here:
        known = self._recorder.known(greenlet)
        name = "" if known is not None else getattr(greenlet, "name", "") or "greenlet"
        return Here(greenlet, "greenlet", name, "gevent")

    def spawned(self, greenlet: Any) -> None:
        """A greenlet is about to be started; this runs where it is."""
        recorder = self._recorder
        if self._stopped or not recorder.is_here:
            return
        self._trace_here()
        by = recorder.here()
        with recorder.creating(by, root=False, caller=sys._getframe(1)):
            live = recorder.strand_for(self._here_of(greenlet))
        if gettrace() is not self._tracer:
            # Somebody else is told of the switches in this thread: then only the end of the greenlet is known.
            greenlet.rawlink(lambda _: recorder.end_strand(live))

    def calls(self, live: LiveStrand, caller: FrameType | None) -> None:
        """A greenlet is about to make a call; from the second one on it may have fetched what for from a queue.

        The queues are written in C and cannot be told of: what the calling function does is read from its code.
        """
        if live.strand.kind not in ("greenlet", "worker") or not isinstance(getcurrent(), Greenlet):
            return
        calls = self._calls[live] = self._calls.get(live, 0) + 1
        if not 1 < calls <= _MOST_CALLS:
            return
        found = queue_read_in(caller)
        if found is not None:
            queue, place = found
            self._recorder.add_use(Use(live.strand.id, "took", "queue", id(queue), next_number(), place))

    def _trace_here(self) -> None:
        if gettrace() is None:
            settrace(self._tracer)

    def _switched(self, event: str, args: Any) -> None:
        # What is raised here would be raised in the program.
        try:
            if self._stopped:
                self._take_out()
                return
            origin, _ = args
            now = self._recorder.now()
            self._paused(origin, now)
            self._step.begun = (next_number(), now)
        except Exception:
            self._stopped = True

    def _paused(self, greenlet: Any, now: float) -> None:
        live: LiveStrand | None = self._recorder.known(greenlet)
        if live is None or live.strand.kind == "callback":
            return
        begun = getattr(self._step, "begun", None)
        if begun is not None:
            live.steps.append(Step(begun[0], next_number(), begun[1], now))
        if greenlet.dead:
            self._recorder.end_strand(live)


def _is_pool_thread(greenlet: Any) -> bool:
    """Tell whether *greenlet* is what a thread of gevent's own pool runs: it is that thread."""
    return type(greenlet).__module__ == _POOL_THREAD
