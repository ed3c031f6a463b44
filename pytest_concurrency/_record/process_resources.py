"""What processes share: the locks of `multiprocessing`, and the pools that jobs are handed in to."""

from __future__ import annotations

import functools
import sys
import zlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from .._imports import when_imported
from .._patching import patched
from .._places import callers
from .._sequence import next_number
from .._trace import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from .recorder import Recorder

# Each way in goes through one of these; what they call is called in their own module.
_POOL = ("apply_async", "_map_async", "imap", "imap_unordered")


@contextmanager
def record(recorder: Recorder) -> Iterator[None]:
    """Take down who waits for a shared lock, takes it and gives it back, and where jobs are handed in to processes."""
    with ExitStack() as undo:
        for module, watch in (
            ("multiprocessing.synchronize", _watch_locks),
            ("multiprocessing.pool", _watch_pool),
            ("concurrent.futures.process", _watch_executor),
        ):
            undo.enter_context(when_imported(module, functools.partial(watch, undo, recorder)))
        yield


def _watch_locks(undo: ExitStack, recorder: Recorder) -> None:
    from multiprocessing import synchronize

    def enter(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __enter__(lock: Any) -> Any:
            if recorder.journal is None or not recorder.is_here:
                return original(lock)
            # Whoever is asked for it elsewhere cannot look into this process: it says so before it waits.
            _note(recorder, "wanted", _kind(lock), _resource(lock))
            result = original(lock)
            _note(recorder, "took", _kind(lock), _resource(lock))
            return result

        return __enter__

    def leave(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __exit__(lock: Any, *args: Any) -> Any:
            if recorder.journal is not None and recorder.is_here:
                _note(recorder, "gave", _kind(lock), _resource(lock))
            return original(lock, *args)

        return __exit__

    undo.enter_context(patched(synchronize.SemLock, "__enter__", enter))
    undo.enter_context(patched(synchronize.SemLock, "__exit__", leave))


def _watch_pool(undo: ExitStack, recorder: Recorder) -> None:
    from multiprocessing.pool import Pool, ThreadPool

    for name in _POOL:
        undo.enter_context(patched(Pool, name, functools.partial(_handing_in, recorder, ThreadPool)))


def _watch_executor(undo: ExitStack, recorder: Recorder) -> None:
    from concurrent.futures.process import ProcessPoolExecutor

    undo.enter_context(patched(ProcessPoolExecutor, "submit", functools.partial(_handing_in, recorder, ())))


def _handing_in(
    recorder: Recorder, without: type | tuple[type, ...], original: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(original)
    def hand_in(pool: Any, *args: Any, **kwargs: Any) -> Any:
        if recorder.is_here and not isinstance(pool, without):
            _note(recorder, "gave", "pool", id(pool))
        return original(pool, *args, **kwargs)

    return hand_in


def _note(recorder: Recorder, action: Literal["wanted", "took", "gave"], kind: str, resource: int) -> None:
    place = next(iter(callers(sys._getframe(2), 1)), None)
    recorder.add_use(Use(recorder.here().strand.id, action, kind, resource, next_number(), place, recorder.now()))


def _kind(lock: Any) -> str:
    return "semaphore" if "Semaphore" in type(lock).__name__ else "lock"


def _resource(lock: Any) -> int:
    """Return a number that stands for *lock* in every process that has it."""
    semaphore = lock._semlock
    name = getattr(semaphore, "name", None)
    return zlib.crc32(name.encode()) if isinstance(name, str) else int(semaphore.handle)
