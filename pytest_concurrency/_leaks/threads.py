"""Threads that were started and have not ended."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._frames import current_frames
from .._patching import patched
from .._places import outward, owner, place_of
from .._trace import Leak, Place
from . import owner as owners
from .executors import pool_behind
from .makers import line_of, makers_of, name_of
from .source import Left, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from contextlib import ExitStack

    from .._trace import Maker
    from .owner import Owner

_MOST_FRAMES = 24


@dataclass(slots=True, eq=False)
class _Record:
    thread: weakref.ref[threading.Thread]
    owner: Owner
    made: tuple[Maker, ...]
    pool: weakref.ref[Any] | None


class Threads(Source):
    """Takes down every `Thread.start`."""

    def install(self, undo: ExitStack) -> None:
        self._records: list[_Record] = []
        self._owners: weakref.WeakKeyDictionary[threading.Thread, Owner] = weakref.WeakKeyDictionary()
        undo.enter_context(patched(threading.Thread, "start", self._start))
        undo.enter_context(patched(threading.Thread, "_bootstrap_inner", self._run))

    def _start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def start(thread: threading.Thread) -> None:
            with self.watch.guarded():
                self._note(thread, sys._getframe(1))
            original(thread)

        return start

    def _note(self, thread: threading.Thread, frame: Any) -> None:
        pool = pool_behind(frame)
        # What a pool starts is the pool's, in whosever name the job came.
        mine = self.watch.executors.owner_of(pool) if pool is not None else owners.current.get()
        if mine is not None and not getattr(thread, "is_pydev_daemon_thread", False):
            self._owners[thread] = mine
            reference = weakref.ref(pool) if pool is not None else None
            self._records.append(_Record(weakref.ref(thread), mine, makers_of(frame), reference))

    def adopt(self, mine: Owner, made: tuple[Maker, ...]) -> None:
        """Take down that the thread that runs here, an older one of a pool, works for *mine* from now on."""
        thread = threading.current_thread()
        self._records = [record for record in self._records if record.thread() is not thread]
        self._records.append(_Record(weakref.ref(thread), mine, made, None))
        owners.current.set(mine)

    def _run(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _bootstrap_inner(thread: threading.Thread) -> Any:
            with self.watch.guarded():
                mine = self._owners.get(thread)
                # From 3.14 on it runs in a context of its own; one that somebody gave it may be in use.
                context = getattr(thread, "_context", None)
                with suppress(RuntimeError):
                    (context.run if context is not None else _here)(owners.current.set, mine)
                if self.watch.is_on:
                    sys.set_coroutine_origin_tracking_depth(self.watch.depth)
            return original(thread)

        return _bootstrap_inner

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        self._records = [record for record in self._records if _is_alive(record)]
        if not self._records:
            return
        frames = current_frames()
        for record in self._records:
            thread = record.thread()
            mine = self.watch.owner_of(thread, record.owner)
            if thread is None or mine not in of or self._is_pools(record) or thread is threading.current_thread():
                continue
            stack = _stack(frames.get(thread.ident or 0))
            line = next((place for place in reversed(stack) if owner(place.file) == "user"), None)
            leak = Leak(
                "thread",
                thread.name,
                line_of(record.made),
                what=_target(thread),
                state="a daemon thread, still running" if thread.daemon else "still running",
                at=line or (stack[-1] if stack else None),
                stack=stack,
                made=record.made,
            )
            yield Left(thread, mine, leak, can_still_end=True)

    def _is_pools(self, record: _Record) -> bool:
        """Tell whether the thread works for a pool that is open: then that is told, once for all of its threads."""
        pool = record.pool() if record.pool is not None else None
        return pool is not None and self.watch.executors.is_open(pool)

    def forget(self, of: Container[Owner]) -> None:
        self._records = [record for record in self._records if record.owner not in of]


def _here(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _is_alive(record: _Record) -> bool:
    thread = record.thread()
    return thread is not None and (thread.is_alive() or thread.ident is None)


def _target(thread: threading.Thread) -> str:
    target = getattr(thread, "_target", None)
    if type(thread).run is threading.Thread.run:
        return name_of(target) if target is not None else ""
    return type(thread).__qualname__


def _stack(frame: Any) -> tuple[Place, ...]:
    places = [place_of(each) for each in outward(frame) if owner(each.f_code.co_filename) != "own"]
    return tuple(reversed(places[:_MOST_FRAMES]))
