"""Event loops that were made and never closed, and the sockets left open on those that were."""

from __future__ import annotations

import asyncio
import functools
import sys
import weakref
from asyncio import base_events, selector_events
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._patching import patched
from .._trace import Leak
from . import owner as owners
from .makers import line_of, makers_of
from .source import Left, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from contextlib import ExitStack

    from .._trace import Maker
    from .owner import Owner


@dataclass(slots=True, eq=False)
class _Record:
    thing: weakref.ref[Any]
    owner: Owner | None
    made: tuple[Maker, ...]
    name: str = ""


class Loops(Source):
    """Takes down every loop, and every transport and server of the loops that are written in Python."""

    def install(self, undo: ExitStack) -> None:
        self._loops: dict[int, _Record] = {}
        self._sockets: dict[int, _Record] = {}
        self.known: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        base = base_events.BaseEventLoop
        undo.enter_context(patched(base, "__init__", self._init))
        undo.enter_context(patched(base, "close", self._close))
        undo.enter_context(patched(base, "__del__", self._del))
        transport = getattr(selector_events, "_SelectorTransport", None)
        if transport is not None:
            undo.enter_context(patched(transport, "__init__", self._init_socket))
        undo.enter_context(patched(base_events.Server, "__init__", self._init_socket))
        self.when_imported(undo, "uvloop", lambda: self._watch_uvloop(undo))

    def _watch_uvloop(self, undo: ExitStack) -> None:
        import uvloop

        # A Python class on top of the compiled one.
        undo.enter_context(patched(uvloop.Loop, "__init__", self._init))
        undo.enter_context(patched(uvloop.Loop, "close", self._close))
        undo.enter_context(patched(uvloop.Loop, "run_in_executor", self.watch.executors.run_in_executor))

    # Loops

    def _init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(loop: Any, *args: Any, **kwargs: Any) -> None:
            original(loop, *args, **kwargs)
            with self.watch.guarded():
                self.watch.saw_loop = True
                self.known.add(loop)
                reference = weakref.ref(loop, functools.partial(self._gone, id(loop)))
                made = makers_of(sys._getframe(1))
                self._loops[id(loop)] = _Record(reference, owners.current.get(), made, type(loop).__name__)

        return __init__

    def _close(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def close(loop: Any) -> Any:
            with self.watch.guarded():
                if not loop.is_closed() and not loop.is_running():
                    self._closing(loop)
            result = original(loop)
            self._loops.pop(id(loop), None)
            return result

        return close

    def _closing(self, loop: Any) -> None:
        if self.watch.tasks is not None:
            self.watch.tasks.loop_ends(loop, "still pending when its event loop was closed")
        for key, record in tuple(self._sockets.items()):
            thing = record.thing()
            if thing is not None and _loop_of(thing) is loop:
                self._sockets.pop(key, None)
                if _is_open(thing):
                    self.watch.add(self.watch.owner_of(thing, record.owner), _socket_leak(thing, record))

    def _del(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __del__(loop: Any, *args: Any) -> None:
            with self.watch.guarded():
                if not loop.is_closed():
                    self._never_closed(id(loop))
            original(loop, *args)

        return __del__

    def _gone(self, key: int, reference: weakref.ref[Any]) -> None:
        # A compiled loop has no finalizer to ask.
        with self.watch.guarded():
            record = self._loops.get(key)
            if record is not None and record.thing is reference:
                self._never_closed(key)

    def _never_closed(self, key: int) -> None:
        record = self._loops.pop(key, None)
        if self.watch.tasks is not None:
            self.watch.tasks.loop_gone(key)
        if record is not None:
            self.watch.add(record.owner, _loop_leak(record, "dropped without being closed"))

    # What is open on them

    def _init_socket(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(thing: Any, *args: Any, **kwargs: Any) -> None:
            original(thing, *args, **kwargs)
            with self.watch.guarded():
                made = makers_of(sys._getframe(1))
                self._sockets[id(thing)] = _Record(weakref.ref(thing), owners.current.get(), made)

        return __init__

    def is_default_executor(self, executor: Any, made_by: Any) -> bool:
        """Tell whether *executor* is the default one of a loop, which shuts it down when it is closed."""
        if made_by is not None:
            loop = made_by()
            return loop is not None and not loop.is_closed()
        return any(
            getattr(loop, "_default_executor", None) is executor for loop in tuple(self.known) if not loop.is_closed()
        )

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        for record in tuple(self._loops.values()):
            loop = record.thing()
            mine = self.watch.owner_of(loop, record.owner)
            if loop is not None and mine is not None and mine in of and not loop.is_closed():
                state = "still running" if loop.is_running() else "never closed"
                if not _is_ours(loop):
                    yield Left(loop, mine, _loop_leak(record, state))
        for key, record in tuple(self._sockets.items()):
            thing = record.thing()
            if thing is None:
                self._sockets.pop(key, None)
                continue
            mine = self.watch.owner_of(thing, record.owner)
            loop = _loop_of(thing)
            if mine is not None and mine in of and loop is not None and not loop.is_closed() and _is_open(thing):
                yield Left(thing, mine, _socket_leak(thing, record))

    def forget(self, of: Container[Owner]) -> None:
        self._loops = {key: record for key, record in self._loops.items() if record.owner not in of}
        self._sockets = {key: record for key, record in self._sockets.items() if record.owner not in of}


def _is_ours(loop: Any) -> bool:
    """Tell whether whoever asks runs on this very loop."""
    return asyncio._get_running_loop() is loop


def _loop_leak(record: _Record, state: str) -> Leak:
    return Leak("loop", record.name, line_of(record.made), state=state, made=record.made)


def _socket_leak(thing: Any, record: _Record) -> Leak:
    state = "left open on its event loop"
    return Leak(
        "socket", _socket_name(thing), line_of(record.made), what=type(thing).__name__, state=state, made=record.made
    )


def _loop_of(thing: Any) -> Any:
    return getattr(thing, "_loop", None)


def _is_open(thing: Any) -> bool:
    if hasattr(thing, "is_closing"):
        return not thing.is_closing() and getattr(thing, "_sock", None) is not None
    return getattr(thing, "_sockets", None) is not None


def _socket_name(thing: Any) -> str:
    if hasattr(thing, "get_extra_info"):
        peer, own = thing.get_extra_info("peername"), thing.get_extra_info("sockname")
        return f"to {_address(peer)}" if peer else f"at {_address(own)}"
    return ", ".join(f"listening at {_address(each.getsockname())}" for each in thing.sockets or ())


def _address(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return str(address) if address else "an address of its own"
