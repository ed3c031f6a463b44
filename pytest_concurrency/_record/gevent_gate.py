"""Hold calls in greenlets, and see what could still move in their hub."""

from __future__ import annotations

import threading
import weakref
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub, Waiter, get_hub
from greenlet import getcurrent

from .._originals import get_ident, is_patched
from .door import Held, Survey, WaitingRoom
from .gevent_view import HubView, key_of
from .threads import moving_threads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .door import Door, Doors, Line
    from .recorder import LiveSpan

_SHORTEST, _LONGEST = 0.0005, 0.01
_SHARE = 5
"""A look at everything that waits takes time; it is had once in that many times its own length, at most."""


class HubGates:
    """The gates of all hubs in one test."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.known_threads = frozenset(thread.ident or 0 for thread in threading.enumerate()) - {
            threading.main_thread().ident or 0
        }
        self._gates: weakref.WeakKeyDictionary[Any, _Gate] = weakref.WeakKeyDictionary()

    def is_here(self) -> bool:
        """Tell whether a call may be held in this greenlet: not in the hub, nor where another loop runs."""
        current, hub = getcurrent(), get_hub_if_exists()
        located = [here for here in (locate() for locate in self.doors.recorder.locators) if here is not None]
        if any(here.kind != "greenlet" for here in located):
            return False
        if located:
            return True
        if current.parent is not None:
            return False
        # A thread's outermost greenlet waits as a greenlet where others may be waiting to run meanwhile.
        return is_patched("threading") or (hub is not None and _may_move(hub.loop))

    def hold(self, door: Door, live: LiveSpan) -> None:
        """Return when the call may go; an exception that is thrown into the greenlet ends the wait."""
        hub = get_hub()
        gate = self._gates.get(hub)
        if gate is None:
            gate = self._gates[hub] = _Gate(hub, self)
        gate.hold(door, live)

    def line_up(self, line: Line, call: int) -> None:
        """Say that *call* is ready: greenlets take turns in any case."""
        line.ready(call)

    def nudge(self) -> None:
        for gate in tuple(self._gates.values()):
            gate.nudge()


def _may_move(loop: Any) -> bool:
    """Tell whether a hub has anything to do: only the loop written in C counts what is active."""
    return type(loop).__module__ != "gevent.libev.corecext" or loop.activecnt > 0 or bool(loop._callbacks)


class _Gate:
    """The calls held in one hub."""

    def __init__(self, hub: Hub, gates: HubGates) -> None:
        self._hub = weakref.ref(hub)
        self._gates = gates
        self._thread = get_ident()
        self._timer: Any = None
        self._delay = _SHORTEST
        self.room = WaitingRoom(gates.doors, self._survey)

    def hold(self, door: Door, live: LiveSpan) -> None:
        hub = get_hub()
        waiter = Waiter(hub)
        held = Held(door, live, key_of(getcurrent()), monotonic(), lambda: hub.loop.run_callback(waiter.switch, None))
        self.room.held.append(held)
        self._delay = _SHORTEST
        self._look_in(0)
        try:
            waiter.get()
        finally:
            if held in self.room.held:
                self.room.held.remove(held)
            if not self.room.held:
                self._stop_looking()

    def nudge(self) -> None:
        hub = self._hub()
        if hub is None or not self.room.held or hub.loop is None:
            return
        if get_ident() == self._thread:
            self._look_in(0)
        else:
            hub.loop.run_callback_threadsafe(self._look_in, 0)

    def _look_in(self, seconds: float) -> None:
        """Look again after so many seconds: a timer of ours also keeps a hub alive that has nothing else to do."""
        self._stop_looking()
        hub = self._hub()
        if hub is not None and hub.loop is not None:
            self._timer = hub.loop.timer(seconds)
            self._timer.start(self._look)

    def _stop_looking(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()

    def _look(self) -> None:
        self._stop_looking()
        began = perf_counter()
        try:
            state = self.room.look(monotonic())
        except BaseException:
            # Our own mistake, which the hub prints: nobody must stay here for it.
            for held in tuple(self.room.held):
                self.room.held.remove(held)
                held.go()
            raise
        if state == "busy":
            self._look_in(0)
        elif state == "idle":
            self._look_in(max(self._delay, _SHARE * (perf_counter() - began)))
            self._delay = min(self._delay * 2, _LONGEST)

    def _survey(self, held: Iterable[Held], horizon: float) -> Survey:
        hub = self._hub()
        assert hub is not None
        # What is ready will run before the next look.
        busy = bool(hub.loop._callbacks) or getattr(hub.loop, "pendingcnt", 0) > 0
        if busy and monotonic() < horizon:
            return Survey(busy=True)
        view = HubView(hub, {each.key for each in held}, self._gates.doors.recorder)
        pending = view.outside()
        pending += moving_threads(self._gates.known_threads, exclude=get_ident())
        return Survey(busy=busy, timers=view.timers(horizon), outside=tuple(pending), waits=view.graph.waits())
