"""Hold calls on an asyncio loop, and see what could still move there."""

from __future__ import annotations

import asyncio
import threading
import weakref
from functools import wraps
from typing import TYPE_CHECKING, Any

from .._frames import locals_of
from .._originals import get_ident
from .._patching import patched
from .awaiting import Suspension, suspension
from .door import Held, Survey, Timers, WaitingRoom
from .threads import moving_threads
from .wait_graph import LIMITS, Look, WaitGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import ExitStack

    from .door import Door, Doors
    from .recorder import LiveSpan

# A loop that is not quiet is looked at again after this long, in seconds: often enough for the door to open at once
# when the last timer is gone, seldom enough to leave the processor to the program.
_SHORTEST, _LONGEST = 0.0005, 0.01


class LoopGates:
    """The gates of all asyncio loops in one test."""

    def __init__(self, doors: Doors) -> None:
        self.doors = doors
        self.known_threads = frozenset(thread.ident or 0 for thread in threading.enumerate()) - {
            threading.main_thread().ident or 0
        }
        self._gates: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopGate] = weakref.WeakKeyDictionary()
        self._opaque: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Activity] = weakref.WeakKeyDictionary()

    def here(self) -> LoopGate | None:
        """Return the gate of the loop that runs in this thread, None where no task of one does."""
        loop = asyncio._get_running_loop()
        if loop is None or asyncio.current_task(loop) is None:
            return None
        gate = self._gates.get(loop)
        if gate is None:
            gate = self._gates[loop] = LoopGate(loop, self, self._opaque.get(loop))
        return gate

    def activity(self, loop: asyncio.AbstractEventLoop) -> Activity:
        return self._opaque.setdefault(loop, Activity())

    def watch_opaque_loop(self, undo: ExitStack, cls: type) -> None:
        """Count what goes into the loops of *cls*, which cannot be looked into, until *undo* closes."""

        def soon(original: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(original)
            def call(loop: Any, callback: Any, *args: Any, **kwargs: Any) -> Any:
                if not _is_own(callback):
                    self.activity(loop).count += 1
                return original(loop, callback, *args, **kwargs)

            return call

        def later(original: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(original)
            def call(loop: Any, when: float, callback: Any, *args: Any, **kwargs: Any) -> Any:
                handle = original(loop, when, callback, *args, **kwargs)
                if not _is_own(callback):
                    activity = self.activity(loop)
                    activity.count += 1
                    activity.timers[handle] = (callback, args)
                return handle

            return call

        def connect(original: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(original)
            def call(loop: Any, *args: Any, **kwargs: Any) -> Any:
                self.activity(loop).has_io = True
                return original(loop, *args, **kwargs)

            return call

        for name in ("call_soon", "call_soon_threadsafe"):
            undo.enter_context(patched(cls, name, soon))
        # call_later calls call_at in Python loops only; a compiled one does not.
        for name in ("call_later", "call_at"):
            undo.enter_context(patched(cls, name, later))
        for name in _IO_METHODS:
            undo.enter_context(patched(cls, name, connect))


_IO_METHODS = (
    "create_connection", "create_server", "create_unix_connection", "create_unix_server", "create_datagram_endpoint",
    "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe", "subprocess_exec", "subprocess_shell",
    "sock_recv", "sock_recv_into", "sock_sendall", "sock_connect", "sock_accept", "sock_sendfile",
    "add_reader", "add_writer", "add_signal_handler",
)  # fmt: skip


class Activity:
    """What was seen going into a loop that cannot be looked into."""

    def __init__(self) -> None:
        self.count = 0
        self.timers: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
        self.has_io = False


class LoopGate:
    """The calls held on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, gates: LoopGates, activity: Activity | None) -> None:
        self._loop = weakref.ref(loop)
        self._gates = gates
        self._activity = activity
        self._seen = -1
        self._scheduled = False
        self._delay = _SHORTEST
        self._thread = get_ident()
        can_see = hasattr(loop, "_ready") and hasattr(loop, "_scheduled")
        self.room = WaitingRoom(gates.doors, self._survey, quiet_turns=1 if can_see else 3)

    async def hold(self, door: Door, live: LiveSpan, pending: BaseException | None) -> None:
        """Return when the call may go; a cancellation ends the wait and is not lost."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def go() -> None:
            if not future.done():
                future.set_result(None)

        held = Held(door, live, asyncio.current_task(), loop.time(), go)
        self.room.held.append(held)
        self._delay = _SHORTEST
        self._look_soon()
        try:
            await future
        except asyncio.CancelledError:
            # The work had ended with an exception before the cancellation came: that is what the caller is to see.
            if pending is None:
                raise
        finally:
            if held in self.room.held:
                self.room.held.remove(held)

    def nudge(self) -> None:
        loop = self._loop()
        if loop is None or loop.is_closed() or not self.room.held:
            return
        if get_ident() == self._thread:
            self._look_soon()
        else:
            loop.call_soon_threadsafe(self._look_soon)

    def _look_soon(self) -> None:
        loop = self._loop()
        if not self._scheduled and loop is not None:
            self._scheduled = True
            loop.call_soon(self._look)

    def _look(self) -> None:
        self._scheduled = False
        loop = self._loop()
        if loop is None:
            return
        state = self.room.look(loop.time())
        if state == "busy":
            self._look_soon()
        elif state == "idle":
            loop.call_later(self._delay, self._look_soon)
            self._delay = min(self._delay * 2, _LONGEST)

    def _survey(self, held: Iterable[Held], horizon: float) -> Survey:
        loop = self._loop()
        assert loop is not None
        view = _View(loop, {h.key for h in held}, self._gates.doors)
        pending = view.outside(self._has_io(loop))
        if self._listens(loop):
            pending.append("a listening server")
        pending += moving_threads(self._gates.known_threads, exclude=get_ident())
        return Survey(
            busy=self._is_busy(loop),
            timers=view.timers(self._timers(loop), horizon),
            outside=tuple(pending),
            waits=view.graph.waits(),
        )

    def _is_busy(self, loop: Any) -> bool:
        if self._activity is not None:
            changed, self._seen = self._activity.count != self._seen, self._activity.count
            return changed
        ready = getattr(loop, "_ready", ())
        return any(not handle._cancelled and not _is_own(handle._callback) for handle in tuple(ready))

    def _timers(self, loop: Any) -> list[tuple[float, Any, Any]]:
        """Return when each live timer is due, its callback and the callback's arguments."""
        if self._activity is not None:
            now = loop.time()
            return [
                (handle.when(), callback, args)
                for handle, (callback, args) in tuple(self._activity.timers.items())
                if not handle.cancelled() and handle.when() > now - 0.001
            ]
        return [
            (handle._when, handle._callback, handle._args)
            for handle in tuple(getattr(loop, "_scheduled", ()))
            if not handle._cancelled and not _is_own(handle._callback)
        ]

    def _has_io(self, loop: Any) -> bool:
        if self._activity is not None:
            return self._activity.has_io
        return bool(_registered(loop))

    def _listens(self, loop: Any) -> bool:
        for key in _registered(loop):
            reader = key.data[0] if isinstance(key.data, tuple) else None
            if getattr(getattr(reader, "_callback", None), "__name__", "") == "_accept_connection":
                return True
        return False


def _registered(loop: Any) -> list[Any]:
    """Return the selector's keys, without the loop's own wake-up pipe."""
    selector: Any = getattr(loop, "_selector", None)
    if not hasattr(selector, "get_map"):
        return []
    own = getattr(getattr(loop, "_ssock", None), "fileno", lambda: -1)()
    return [key for key in tuple((selector.get_map() or {}).values()) if key.fd != own]


def _is_own(callback: Any) -> bool:
    return isinstance(getattr(callback, "__self__", None), LoopGate)


class _View:
    """What is going on in one loop, at one instant."""

    def __init__(self, loop: asyncio.AbstractEventLoop, held: set[Any], doors: Doors) -> None:
        looks = {task: look(task, held) for task in asyncio.all_tasks(loop) if not task.done()}
        self.graph = WaitGraph(looks, held, doors.recorder)

    def timers(self, timers: list[tuple[float, Any, Any]], horizon: float) -> Timers:
        """Return which timers could bring something in before *horizon*."""
        strikes: float | None = None
        soon = later = False
        for when, callback, args in timers:
            if self._is_timeout_of_held(callback, args):
                strikes = when if strikes is None else min(strikes, when)
            elif when <= horizon:
                soon = True
            else:
                later = True
        return Timers(soon, later, strikes)

    def _is_timeout_of_held(self, callback: Any, args: Any) -> bool:
        """Tell whether a timer ends the wait of tasks that wait for a held call: it strikes because of the holding."""
        name = getattr(callback, "__name__", "")
        if name == "_release_waiter":
            # `asyncio.wait`, and `wait_for` on 3.11.
            return bool(args) and any(getattr(task, "_fut_waiter", None) is args[0] for task in self.graph.behind)
        if name not in ("_on_timeout", "_timeout"):
            return False
        owner = getattr(callback, "__self__", None)
        tasks = {getattr(owner, "_task", None), getattr(owner, "_host_task", None)} - {None}
        return bool(tasks) and tasks <= self.graph.behind

    def outside(self, has_io: bool) -> list[str]:
        """Return what comes from outside the loop: workers and sockets that somebody waits for."""
        # A bare future may be a protocol's; where nothing is connected, somebody in the program sets it.
        sockets = {"io": "a socket", "future": "a socket"} if has_io else {}
        return self.graph.outside(lambda task: task.get_name(), {"worker": "a worker", **sockets})


def look(task: Any, held: set[Any]) -> Look:
    """Return what *task* waits for; for one of those *held*, that it is."""
    found = suspension(task.get_coro())
    waiter = getattr(task, "_fut_waiter", None)
    if task in held:
        return Look("held", found.place, chain=found.chain)
    if waiter is None or waiter.done():
        return Look("ready", found.place)
    kind, on = _follow(waiter, found)
    if found.in_library and kind in ("event", "queue"):
        # A library's protocol may set it when data comes, where no task shows that somebody waits for data.
        kind = "future"
    return Look(kind, found.place, found.resource if kind in LIMITS else None, on)


def look_back(task: Any, step: tuple[Any, ...]) -> Look:
    """Return what *task* has waited for, which is about to make *step*: a loop's handle, or a callback's arguments."""
    found = suspension(task.get_coro())
    # A task is woken with the future that it waited for.
    args = getattr(step[0], "_args", None) or () if step else ()
    awaited = args[0] if args else None
    on: tuple[Any, ...] = ()
    if awaited is not None:
        on = tuple(each for each in (getattr(awaited, "_children", None) or (awaited,)) if hasattr(each, "get_coro"))
    kind = "task" if on else found.kind
    return Look(kind, found.place, found.resource if kind in LIMITS | {"event"} else None, on)


def _follow(waiter: Any, found: Suspension) -> tuple[str, tuple[Any, ...]]:
    awaited = list(_leaves(waiter))
    if any(map(_comes_from_worker, awaited)):
        return "worker", ()
    tasks = tuple(future for future in awaited if hasattr(future, "get_coro"))
    if tasks:
        return "task", tasks
    if found.kind == "task" and found.frame is not None:
        return "task", _awaited_in(found.frame)
    return found.kind, ()


def _leaves(future: Any) -> Iterator[Any]:
    """Yield what *future* stands for: itself, or the futures that it gathers and that are not done."""
    children = getattr(future, "_children", None)
    if children is None:
        yield future
        return
    for child in children:
        if not child.done():
            yield from _leaves(child)


def _comes_from_worker(future: Any) -> bool:
    """Tell whether a thread's or a process's future is behind this one (`asyncio.wrap_future`)."""
    return any(
        getattr(callback, "__name__", "") == "_call_check_cancel"
        for callback, _ in (getattr(future, "_callbacks", None) or ())
    )


def _awaited_in(frame: Any) -> tuple[Any, ...]:
    """Return the tasks that a library function is waiting for, from its own variables."""
    variables = locals_of(frame)
    owner = variables.get("self")
    candidates: list[Any] = [
        variables.get("fut"),
        *(variables.get("fs") or ()),
        *(getattr(owner, "_tasks", None) or ()),
    ]
    return tuple(task for task in candidates if hasattr(task, "get_coro") and not task.done())
