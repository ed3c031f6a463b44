"""Turns of gevent's hubs: from when a hub has waited for something to do until it is about to wait again.

A hub lives as long as its thread. Watchers of our own in its loop tell when it goes to wait and when it comes back;
they do not keep the loop alive. What the outermost greenlet of a thread does is no part of a turn: it is the thread.
"""

from __future__ import annotations

import functools
import weakref
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gevent import Greenlet
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub
from greenlet import greenlet as raw

from .._originals import get_ident
from .._patching import patched
from .lanes import STALE, Lane
from .loops import LOOP_THREADS, class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .turns import Turns

_MOST = 2000
"""Greenlets among which the running one is looked for: with more, nobody is blamed for computing."""


@contextmanager
def watch(turns: Turns, make_lane: Callable[[Hub], Lane], clock: Callable[[], float]) -> Iterator[None]:
    """Watch the hub of this thread and every one that is made inside the `with` block."""
    greenlets = _Greenlets(turns)
    hubs: list[_HubTurns] = []

    def add(hub: Hub) -> None:
        greenlets.hubs[hub] = each = _HubTurns(hub, turns, make_lane(hub), clock, greenlets)
        hubs.append(each)

    def make(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def __init__(hub: Hub, *args: Any, **kwargs: Any) -> None:
            original(hub, *args, **kwargs)
            add(hub)

        return __init__

    with ExitStack() as undo:
        undo.enter_context(patched(Hub, "__init__", make))
        turns.hubs.append(hubs)
        undo.callback(turns.hubs.remove, hubs)
        Greenlet.add_spawn_callback(greenlets.add)
        undo.callback(Greenlet.remove_spawn_callback, greenlets.add)
        hub = get_hub_if_exists()
        if hub is not None:
            add(hub)
        try:
            yield
        finally:
            for each in hubs:
                each.stop()


class _Greenlets:
    """Those that were started: which of them runs on a thread can only be asked of each."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        self.hubs: weakref.WeakKeyDictionary[Any, _HubTurns] = weakref.WeakKeyDictionary()

    def add(self, greenlet: Any) -> None:
        """One is about to be started."""
        self._all.add(greenlet)
        self._turns.hub_seen()
        turns = self.hubs.get(greenlet.parent)
        if turns is not None:
            turns.expect()

    def running(self, hub: Any, last: weakref.ref[Any] | None) -> weakref.ref[Any] | None:
        """Return the greenlet that runs in the thread of *hub*, *last* if it still does; None if it is not known."""
        if last is not None and _runs(last(), hub):
            return last
        # A copy in one step: the threads that are looked at start others meanwhile.
        known = list(self._all.data)  # type: ignore[attr-defined]  # the set of references in it
        if len(known) > _MOST:
            return None
        return next((each for each in known if _runs(each(), hub)), None)


def _runs(greenlet: Any, hub: Any) -> bool:
    # One that runs has no frame to show: the thread has it. `Greenlet` itself is true before it has begun.
    return greenlet is not None and greenlet.parent is hub and raw.__bool__(greenlet) and greenlet.gr_frame is None


class _HubTurns:
    """The turns of one hub."""

    def __init__(self, hub: Hub, turns: Turns, lane: Lane, clock: Callable[[], float], greenlets: _Greenlets) -> None:
        self._turns = turns
        self._lane = lane
        self._clock = clock
        self._turn = turns.here()
        self._stopped = False
        self._thread = get_ident()
        main: Any = hub
        while main.parent is not None:
            main = main.parent
        # Weakly: a lane must keep no thread's greenlets alive, nor a hub whose thread has ended.
        outermost, this = weakref.ref(main), weakref.ref(hub)
        weakref.finalize(hub, self._gone).atexit = False
        lane.in_thread = lambda: getattr(outermost(), "gr_frame", None) is None
        lane.running = lambda last: greenlets.running(this(), last)
        LOOP_THREADS[lane.thread] = LOOP_THREADS.get(lane.thread, 0) + 1
        loop = hub.loop
        self._watchers: list[Any] = []
        try:
            told = (
                (loop.check(ref=False, priority=loop.MAXPRI), self._woke),
                (loop.prepare(ref=False, priority=loop.MAXPRI), self._goes_on),
                (loop.prepare(ref=False, priority=loop.MINPRI), self._waits),
            )
        except Exception:
            # libuv, as gevent wraps it, does not say when it goes to wait.
            turns.unwatched.add(class_of(loop))
            return
        for watcher, tell in told:
            watcher.start(tell)
            self._watchers.append(watcher)

    def stop(self) -> None:
        """Watch no more; in another thread the watchers stay until its hub comes by."""
        if self._stopped:
            return
        self.settle()
        self._stopped = True
        self._turns.discard(self._lane)
        LOOP_THREADS[self._lane.thread] -= 1
        if not LOOP_THREADS[self._lane.thread]:
            del LOOP_THREADS[self._lane.thread]
        if get_ident() == self._thread:
            self._close()

    def _gone(self) -> None:
        self.stop()
        self._close()

    def _close(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            # The hub may have been destroyed.
            with suppress(Exception):
                watcher.stop()
                watcher.close()

    def _woke(self) -> None:
        if self._stopped:
            self._close()
            return
        lane = self._lane
        lane.paused = 0
        lane.began = now = self._clock()
        if now - lane.reading[0] > STALE:
            lane.refresh()
        self._turns.hub_seen()
        self._turns.look_at(lane)

    def _goes_on(self) -> None:
        # The first turn of a hub, and one that the thread itself has interrupted.
        if not self._lane.began or self._stopped:
            self._woke()
        self._turns.hub_seen()

    def settle(self) -> None:
        """End the turn, where this is the hub's thread: what happened in it is to be told now."""
        if self._watchers and get_ident() == self._thread and not self._stopped:
            self._waits()
            # It goes on in the middle of what it was doing, without a word to us.
            self._lane.paused = 1

    def expect(self) -> None:
        """The hub is about to have something to do."""
        lane = self._lane
        if self._watchers and not lane.began and get_ident() == self._thread and not self._stopped:
            lane.paused = 1
            self._turns.look_at(lane)

    def _waits(self) -> None:
        lane = self._lane
        lane.paused = 0
        if lane.marked:
            lane.end(self._clock())
        else:
            lane.began = 0.0
        if self._turn.pending:
            self._turn.close()
