"""Who waits for what in one hub, at one instant.

gevent's own types are written in C and keep no list of who waits. The garbage collector knows all of them, and what
each refers to: a lock to the greenlets that it will wake, a timer to the greenlet whose sleep it ends.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from itertools import compress
from typing import TYPE_CHECKING, Any

from gevent import Greenlet
from gevent._abstract_linkable import AbstractLinkable
from gevent.baseserver import BaseServer
from gevent.event import AsyncResult, Event
from gevent.hub import Hub, Waiter
from gevent.lock import RLock
from gevent.pool import Group, Pool
from gevent.queue import SimpleQueue
from gevent.timeout import Timeout
from greenlet import greenlet

from .._frames import locals_of
from .._originals import is_patched
from .._places import callers, outward, owner, place_of
from .door import Timers
from .lock_lines import locks_held_in
from .wait_graph import Look, WaitGraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from .._trace import Place
    from .recorder import Recorder

_OTHERS = {"io": "a socket", "async_": "a worker", "child": "a worker", "stat": "a worker"}
"""Kinds of watchers that bring something from outside, and what to call it."""


# Python's own too, which a patched process uses.
_OWNED: tuple[Any, ...] = (RLock, threading._RLock)
"""Locks that know who has taken them."""


def key_of(current: Any) -> Any:
    """Return what stands for a greenlet in the recording: itself, or the thread whose outermost one it is."""
    if current.parent is not None:
        return current
    return threading.main_thread() if is_patched("threading") else threading.current_thread()


class HubView:
    """The greenlets of one hub. To be made in the hub's own thread."""

    def __init__(self, hub: Hub, held: set[Any], recorder: Recorder) -> None:
        self._hub = hub
        self._recorder = recorder
        self._held = held
        self._main = outermost(hub)
        found = _existing((hub.loop.WatcherType, AbstractLinkable, SimpleQueue, Group, *_OWNED))
        self._watchers = [each for each in found if isinstance(each, hub.loop.WatcherType) and _is_on(each, hub)]
        self._waiting = dict(_awaited(found))
        self._groups = {id(each._empty_event): each for each in found if isinstance(each, Group)}
        self._pools = {id(each._semaphore): each for each in found if isinstance(each, Pool)}
        self._locks = {id(each._block): each for each in found if isinstance(each, _OWNED)}
        self._by = {g: watcher for watcher in self._watchers for g in _behind(watcher.callback)}
        own = [self._main, *recorder.keys_of("greenlet")]
        self._greenlets = {key_of(each): each for each in own if not each.dead and outermost(each) is self._main}
        self.graph = WaitGraph({key: self._look(key, each) for key, each in self._greenlets.items()}, held, recorder)

    # What could still move

    def timers(self, horizon: float) -> Timers:
        """Return which timers could bring something in before *horizon*, a time of `time.monotonic`."""
        strikes: float | None = None
        soon = later = False
        for watcher in self._watchers:
            if type(watcher).__name__ != "timer":
                continue
            due = getattr(watcher, "at", horizon)
            if isinstance(getattr(watcher.callback, "__self__", None), Timeout) and (
                key_of(watcher.args[0]) in self.graph.behind
            ):
                strikes = due if strikes is None else min(strikes, due)
            elif due <= horizon:
                soon = True
            else:
                later = True
        return Timers(soon, later, strikes)

    def outside(self) -> list[str]:
        """Return, in words, what comes from outside the hub: sockets and workers that somebody waits for."""
        found = []
        for watcher in self._watchers:
            what = _OTHERS.get(type(watcher).__name__)
            if what is None:
                continue
            if isinstance(getattr(watcher.callback, "__self__", None), BaseServer):
                found.append("a listening server")
                continue
            waiting = [key_of(each) for each in _behind(watcher.callback)]
            names = [f", awaited by {self._name(key)}" for key in waiting]
            found.append(what + "".join(names))
        return found

    def _name(self, key: Any) -> str:
        live, look = self._recorder.known(key), self.graph.looks.get(key)
        name = live.strand.name if live is not None else getattr(key, "name", "a greenlet")
        place = look.place if look is not None else None
        return f"{name!r}" + (f" at {place.file}:{place.line}" if place is not None else "")

    # Who waits for what

    def _look(self, key: Any, each: Any) -> Look:
        place = next(iter(callers(each.gr_frame, 1)), None)
        if place is None and (live := self._recorder.known(key)) is not None:
            # Code of a library's alone: what started it is the user's.
            place = live.strand.place
        if key in self._held:
            return Look("held", place)
        joined = _joined(each.gr_frame)
        if joined is not None:
            # Its thread is a greenlet, whose address is the thread's number.
            return Look("task", place, on=tuple(other for other in self._greenlets.values() if id(other) == joined))
        if each in self._waiting:
            return self._look_at(self._waiting[each], place)
        watcher = self._by.get(each)
        if watcher is not None:
            kind = type(watcher).__name__
            return Look(kind if kind in ("timer", "io") else "worker", place)
        on = tuple(other for other in self._greenlets.values() if other is not each and _awaits(each, other))
        return Look("task", place, on=on)

    def _look_at(self, resource: Any, place: Any) -> Look:
        if id(resource) in self._pools:
            members = self._pools[id(resource)].greenlets
            return Look("pool", place, resource, tuple(key for key in self._held if key in members))
        if id(resource) in self._groups:
            return Look("task", place, on=tuple(self._groups[id(resource)].greenlets))
        if isinstance(resource, (Event, AsyncResult)):
            return Look("event", place)
        if isinstance(resource, SimpleQueue):
            return Look("queue", place, resource)
        lock = self._locks.get(id(resource), resource)
        kind = "lock" if "Lock" in type(lock).__name__ else "semaphore"
        return Look(kind, place, lock, self._holders(lock))

    def _holders(self, lock: Any) -> tuple[Any, ...]:
        """Return the held ones that have taken *lock*."""
        if isinstance(lock, _OWNED):
            return tuple(key for key in self._held if _is_owner(lock._owner, self._greenlets.get(key)))
        frames = {key: self._greenlets[key].gr_frame for key in self._held if key in self._greenlets}
        # A semaphore does not know who has taken it; the code does.
        sure = tuple(key for key, frame in frames.items() if any(lock is mine for mine in locks_held_in(frame)))
        return sure or tuple(key for key, frame in frames.items() if any(lock is each for each in _values(frame)))


def _is_owner(one: Any, each: Any) -> bool:
    # Python's own lock takes the thread's number, which is the greenlet's address in a patched process.
    return each is not None and (one is each or one == id(each))


def _joined(frame: FrameType | None) -> int | None:
    """Return the number of the thread for whose end a greenlet of a patched process waits."""
    for each in outward(frame):
        if owner(each.f_code.co_filename) == "user":
            return None
        thread = locals_of(each).get("self") if each.f_code.co_name == "join" else None
        if isinstance(thread, threading.Thread):
            return thread.ident
    return None


def outermost(each: Any) -> Any:
    """Return the greenlet that a thread began with, from any other one of that thread."""
    while each.parent is not None:
        each = each.parent
    return each


def _existing(types: tuple[type, ...]) -> list[Any]:
    """Return every living object of these types."""
    everything = gc.get_objects()
    wanted = {kind for base in types for kind in _with_subclasses(base)}
    # There may be a million of them: no step of Python for each.
    try:
        return list(compress(everything, map(wanted.__contains__, map(type, everything))))
    except Exception:
        # A class may define how it compares; its number says which it is, at twice the time.
        numbers = set(map(id, wanted))
        return list(compress(everything, map(numbers.__contains__, map(id, map(type, everything)))))


def _with_subclasses(kind: type) -> Iterator[type]:
    yield kind
    subclasses: list[type] = type.__subclasses__(kind)
    for each in subclasses:
        yield from _with_subclasses(each)


def _is_on(watcher: Any, hub: Any) -> bool:
    return watcher.loop is hub.loop and watcher.active and watcher.ref and watcher.callback is not None


def _awaited(found: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each greenlet that waits for one of *found*, with that."""
    for each in found:
        if not isinstance(each, (AbstractLinkable, SimpleQueue)):
            continue
        for links in gc.get_referents(each):
            if isinstance(links, (list, deque)):
                for link in tuple(links):
                    for waiting in _behind(link):
                        yield waiting, each


def _behind(link: Any) -> Iterator[Any]:
    """Yield the greenlet that *link* will wake: a waiter, or a method of a waiter's or of the greenlet's own."""
    target = link if isinstance(link, Waiter) else getattr(link, "__self__", None)
    if isinstance(target, Waiter):
        target = target.greenlet
    if isinstance(target, greenlet):
        yield target


def _awaits(each: Any, other: Any) -> bool:
    """Tell whether *each*, which waits for another greenlet to end, waits for *other*."""
    if not isinstance(other, Greenlet) or not other.has_links():
        return False
    by = other.spawning_greenlet
    return (by is not None and by() is each) or any(other is value for value in _values(each.gr_frame))


def queue_read_in(frame: FrameType | None) -> tuple[Any, Place] | None:
    """Return the queue that one of the user's functions on the stack reads from, and where that function is."""
    for each in outward(frame):
        if "get" in each.f_code.co_names and owner(each.f_code.co_filename) == "user":
            found = next((value for value in _values(each, deep=False) if issubclass(type(value), SimpleQueue)), None)
            if found is not None:
                return found, place_of(each)
    return None


def _values(frame: FrameType | None, *, deep: bool = True) -> Iterator[Any]:
    """Yield what the user's functions on a greenlet's stack have names for, one level deep."""
    for each in outward(frame):
        code = each.f_code
        if owner(code.co_filename) == "user":
            known = {**{name: each.f_globals.get(name) for name in code.co_names}, **locals_of(each)}
            for value in known.values():
                yield value
                # By their very types: a value may be a proxy, which does something when it is asked for its class.
                if type(value) in (list, tuple, set, frozenset, deque):
                    yield from tuple(value)
                elif type(value) is dict:
                    yield from tuple(value.values())
                else:
                    attributes = _attributes(value)
                    yield from (attributes[name] for name in code.co_names if name in attributes)
        if not deep:
            return


def _attributes(value: Any) -> dict[str, Any]:
    try:
        found = object.__getattribute__(value, "__dict__")
    except Exception:
        return {}
    return found if type(found) is dict else {}
