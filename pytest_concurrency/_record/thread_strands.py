"""Strands of threads, and the jobs of those that work for a pool."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from concurrent.futures import Future, thread
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

from .._imports import when_imported
from .._patching import patched
from .._places import callers, owner
from .._sequence import next_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._trace import Place
    from .recorder import LiveJob, LiveStrand, Recorder


@contextmanager
def record(recorder: Recorder) -> Iterator[None]:
    """Tell *recorder* of every thread that is started, and of every job that a pool's thread does."""
    threads = _Threads(recorder)
    with ExitStack() as undo:
        undo.enter_context(patched(threading.Thread, "start", threads.start))
        undo.enter_context(patched(threading.Thread, "_bootstrap_inner", threads.run))
        _watch_executors(undo, threads)
        undo.enter_context(when_imported("trio", lambda: _watch_trio(undo, threads)))
        undo.enter_context(when_imported("anyio", lambda: _watch_anyio(undo, threads)))
        undo.callback(threads.stop)
        yield


def _watch_executors(undo: ExitStack, threads: _Threads) -> None:
    # Both are private; where a version has neither, a pool's thread counts as any other thread.
    item = getattr(thread, "_WorkItem", None)
    if item is not None:
        undo.enter_context(patched(item, "__init__", threads.submit))
        undo.enter_context(patched(item, "run", threads.run_item))
        # A job has ended when its future is told so: whoever waits for it goes on at that instant.
        undo.enter_context(patched(Future, "set_result", threads.answer))
        undo.enter_context(patched(Future, "set_exception", threads.answer))


def _watch_trio(undo: ExitStack, threads: _Threads) -> None:
    from trio._core import _thread_cache

    def start_thread_soon(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def start(cache: Any, fn: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
            return original(cache, threads.as_job(fn), *args, **kwargs)

        return start

    undo.enter_context(patched(_thread_cache.ThreadCache, "start_thread_soon", start_thread_soon, needed=True))


def _watch_anyio(undo: ExitStack, threads: _Threads) -> None:
    from anyio._backends import _asyncio

    def run_in_worker(original: Callable[..., Any]) -> Any:
        @functools.wraps(original)
        async def run(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return await original(threads.as_job(func), *args, **kwargs)

        return staticmethod(run)

    undo.enter_context(patched(_asyncio.AsyncIOBackend, "run_sync_in_worker_thread", run_in_worker))


@dataclass(frozen=True, slots=True)
class Start:
    """Who started a thread or handed in a job, where, and when."""

    by: LiveStrand
    place: Place | None
    number: int
    in_body: bool


class _Threads:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._starts: weakref.WeakKeyDictionary[threading.Thread, Start] = weakref.WeakKeyDictionary()
        self._submitted: weakref.WeakKeyDictionary[Future[Any], Start] = weakref.WeakKeyDictionary()
        self._doing: weakref.WeakKeyDictionary[Future[Any], LiveJob] = weakref.WeakKeyDictionary()
        self._stopped = False

    def stop(self) -> None:
        # A thread or a job that outlives the recording still runs through here.
        self._stopped = True

    @property
    def _is_off(self) -> bool:
        return self._stopped or not self._recorder.is_here

    def _start_here(self) -> Start:
        recorder = self._recorder
        by = recorder.here()
        # A task that is made of `to_thread` alone has no line of its own: the one that started it is meant.
        place = next(iter(callers(sys._getframe(1).f_back, 1)), by.strand.place)
        return Start(by, place, next_number(), recorder.in_body)

    def start(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def start(thread: threading.Thread) -> None:
            if not self._is_off:
                self._starts[thread] = self._start_here()
            original(thread)

        return start

    def run(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _bootstrap_inner(thread: threading.Thread) -> Any:
            start = self._starts.pop(thread, None)
            if start is None or self._is_off:
                return original(thread)
            with self._recorder.started_by(start.by, root=not start.in_body, place=start.place):
                live = self._recorder.here_in_thread(thread, foreign=_is_machinery(thread))
            try:
                return original(thread)
            finally:
                self._recorder.end_strand(live)

        return _bootstrap_inner

    # Jobs

    def submit(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(item: Any, future: Future[Any], *args: Any, **kwargs: Any) -> None:
            if not self._is_off:
                self._submitted[future] = self._start_here()
            original(item, future, *args, **kwargs)

        return __init__

    def run_item(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def run(item: Any, *args: Any, **kwargs: Any) -> Any:
            start = self._submitted.pop(item.future, None)
            if start is None or self._is_off:
                return original(item, *args, **kwargs)
            live = self._doing[item.future] = self._begin(start)
            try:
                return original(item, *args, **kwargs)
            finally:
                self._recorder.end_job(live)
                self._doing.pop(item.future, None)

        return run

    def answer(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def answer(future: Future[Any], *args: Any, **kwargs: Any) -> Any:
            live = self._doing.get(future)
            if live is not None:
                self._recorder.end_job(live)
            return original(future, *args, **kwargs)

        return answer

    def as_job(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* as a job that is handed in here and now."""
        if self._is_off:
            return function
        start = self._start_here()

        @functools.wraps(function, updated=())
        def job(*args: Any) -> Any:
            if self._is_off:
                return function(*args)
            live = self._begin(start)
            try:
                return function(*args)
            finally:
                self._recorder.end_job(live)

        return job

    def _begin(self, start: Start) -> LiveJob:
        with self._recorder.started_by(start.by, root=not start.in_body, place=start.place):
            live = self._recorder.here_in_thread(threading.current_thread())
        return self._recorder.begin_job(live, start.by, start.number, start.place, by_test=start.in_body)


_MACHINERY = ("/multiprocessing/", "/concurrent/futures/", "/logging/")


def _is_machinery(thread: threading.Thread) -> bool:
    """Tell whether *thread* does the standard library's own work: a queue's feeder, a pool's handler."""
    run = type(thread).run
    target = getattr(thread, "_target", None) if run is threading.Thread.run else run
    while isinstance(target, functools.partial):
        target = target.func
    file = _file(getattr(target, "__func__", target))
    return owner(file) == "stdlib" and any(part in file.replace("\\", "/") for part in _MACHINERY)


def _file(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return code.co_filename if isinstance(code, CodeType) else ""
