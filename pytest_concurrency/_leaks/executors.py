"""Executors and pools that were made and not shut down."""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._frames import caller_of, locals_of
from .._patching import patched
from .._trace import Leak
from . import owner as owners
from .makers import line_of, makers_of
from .source import Left, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from contextlib import ExitStack
    from types import FrameType

    from .._trace import Maker
    from .owner import Owner

_FILES = tuple(
    os.path.join(*parts)
    for parts in (
        ("concurrent", "futures", "thread.py"),
        ("concurrent", "futures", "process.py"),
        ("concurrent", "futures", "interpreter.py"),
        ("multiprocessing", "pool.py"),
    )
)
_STARTERS = (
    "threading.py",
    *(os.path.join("multiprocessing", name) for name in ("process.py", "context.py", "queues.py", "dummy")),
)


def pool_behind(frame: FrameType | None) -> Any:
    """Return the pool whose own code starts a thread or a process in *frame*, None where it is somebody else."""
    for _ in range(8):
        if frame is None:
            return None
        file = frame.f_code.co_filename
        if file.endswith(_FILES):
            found = locals_of(frame).get("self")
            # The thread that manages the processes knows whose it is.
            found = getattr(found, "executor_reference", lambda found=found: found)()
            if hasattr(found, "submit") or hasattr(found, "apply_async"):
                return found
        elif not any(part in file for part in _STARTERS):
            return None
        frame = caller_of(frame)
    return None


@dataclass(slots=True, eq=False)
class _Record:
    pool: weakref.ref[Any]
    owner: Owner | None
    made: tuple[Maker, ...]
    loop: Any = None
    """The uvloop that made it for itself; it does not show its default executor."""


class Executors(Source):
    """Takes down every executor of `concurrent.futures` and every pool of `multiprocessing`."""

    def install(self, undo: ExitStack) -> None:
        self._records: dict[int, _Record] = {}
        self._making = threading.local()
        wanted = (
            ("concurrent.futures.thread", "ThreadPoolExecutor"),
            ("concurrent.futures.process", "ProcessPoolExecutor"),
            ("multiprocessing.pool", "Pool"),
        )
        for module, name in wanted:
            self.when_imported(undo, module, functools.partial(self._watch_class, undo, module, name))

    def _watch_class(self, undo: ExitStack, module: str, name: str) -> None:
        undo.enter_context(patched(getattr(sys.modules[module], name), "__init__", self._init))

    def _init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def __init__(pool: Any, *args: Any, **kwargs: Any) -> None:
            with self.watch.guarded():
                # Before it is made: it may start its workers meanwhile.
                self._records[id(pool)] = _Record(
                    weakref.ref(pool),
                    owners.current.get(),
                    makers_of(sys._getframe(1)),
                    getattr(self._making, "loop", None),
                )
            original(pool, *args, **kwargs)

        return __init__

    def run_in_executor(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Say on whose behalf a compiled loop makes its default executor."""

        @functools.wraps(original)
        def run(loop: Any, executor: Any, *args: Any) -> Any:
            if executor is not None:
                return original(loop, executor, *args)
            self._making.loop = weakref.ref(loop)
            try:
                return original(loop, executor, *args)
            finally:
                del self._making.loop

        return run

    def _record(self, pool: Any) -> _Record | None:
        record = self._records.get(id(pool))
        return record if record is not None and record.pool() is pool else None

    def owner_of(self, pool: Any) -> Owner | None:
        """Return who answers for *pool*, None where it was there before the watching began."""
        record = self._record(pool)
        return self.watch.owner_of(pool, record.owner) if record is not None else None

    def is_open(self, pool: Any) -> bool:
        """Tell whether *pool* takes jobs."""
        if hasattr(pool, "_shutdown_thread"):
            return not pool._shutdown_thread
        if hasattr(pool, "_shutdown"):
            return not pool._shutdown
        # A pool that is being made has no state yet.
        return getattr(pool, "_state", "RUN") == "RUN"

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        for key, record in tuple(self._records.items()):
            pool = record.pool()
            if pool is None:
                self._records.pop(key, None)
                continue
            mine = self.watch.owner_of(pool, record.owner)
            if mine is None or mine not in of or not self.is_open(pool):
                continue
            workers = _workers(pool)
            loops = self.watch.loops
            # The default executor of a loop goes with its loop: that is closed, or told itself.
            if not workers or (loops is not None and loops.is_default_executor(pool, record.loop)):
                continue
            leak = Leak(
                "executor",
                type(pool).__name__,
                line_of(record.made),
                state=f"not shut down, with {workers} worker{'s' * (workers != 1)}",
                made=record.made,
            )
            yield Left(pool, mine, leak)

    def forget(self, of: Container[Owner]) -> None:
        self._records = {key: record for key, record in self._records.items() if record.owner not in of}


def _workers(pool: Any) -> int:
    """Return how many threads or processes the pool keeps."""
    threads = getattr(pool, "_threads", None)
    if threads is not None:
        return sum(thread.is_alive() for thread in tuple(threads))
    processes = getattr(pool, "_processes", None)
    if isinstance(processes, dict):
        return len(processes)
    return len(getattr(pool, "_pool", None) or ())
